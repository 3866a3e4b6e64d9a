// The browser's half of a page: figures, the drawing canvas, the address, present mode.
// Nothing here knows a topic, and nothing leaves this machine.
"use strict";

window.vitrine = (() => {
  const query = new URLSearchParams(location.search);
  const FLAGS = ["hide", "embed", "present"];
  const NARROW = 480; // pixels; a figure on a phone

  // ---- figure: one Plotly drawing that is updated in place, so that nothing flickers while a slider moves
  function figure(element, props, trigger, watch) {
    const frame = element.querySelector(".vitrine-figure");
    let value = null; // what is drawn; it arrives as text
    let narrow = false;
    const thumbnail = document.createElement("div");
    thumbnail.className = "thumbnail";
    // Panels that stand side by side may have other places on a phone: `meta.narrow` says which.
    const fitting = (layout) => {
      narrow = frame.clientWidth > 0 && frame.clientWidth < NARROW;
      const merged = narrow ? { ...layout, ...layout.meta.narrow } : { ...layout };
      for (const key of Object.keys(merged)) {
        if (/^[xy]axis/.test(key)) merged[key] = { ...layout[key], ...merged[key] };
      }
      return merged;
    };
    const draw = () => {
      value = props.value ? JSON.parse(props.value) : null;
      thumbnail.style.display = "none"; // whose point may have gone
      frame.classList.toggle("empty", !value);
      if (!value) return;
      if (frame.closest("#figure")) grey(value.idle || []);
      frame.setAttribute("aria-label", (value.layout.meta || {}).sentence || "");
      frame.style.minHeight = fitting(value.layout).height + "px";
      Plotly.react(frame, value.data, fitting(value.layout), { displayModeBar: false, responsive: true }).then(() => {
        if (frame.dataset.bound) return;
        frame.dataset.bound = "yes";
        // Beside a <base> Plotly names its clip paths by the page's address, and what they clip vanishes when that changes.
        const local = () => {
          for (const part of frame.querySelectorAll("[clip-path]")) {
            const name = part.getAttribute("clip-path").match(/#[^'")]+/);
            if (name) part.setAttribute("clip-path", `url(${name[0]})`);
          }
        };
        frame.on("plotly_afterplot", local);
        local();
        frame.on("plotly_click", (event) => {
          const point = event.points.find((candidate) => candidate.customdata !== undefined);
          const [place] = event.points;
          if (point) trigger("select", { pick: point.customdata });
          // A place means something in the main panel only, not among the curves beside it.
          else if (place && (place.data.xaxis || "x") === "x") trigger("select", { pick: [place.x, place.y] });
        });
        // A point of a figure with a sheet of thumbnails shows its own beside it; customdata says which.
        frame.after(thumbnail);
        frame.on("plotly_hover", ({ points, event }) => {
          const sprite = value?.layout.meta?.sprite;
          const [number] = points[0].customdata ?? [];
          if (!sprite || !(number >= 0)) return;
          const box = frame.parentElement.getBoundingClientRect();
          const [column, row] = [number % sprite.columns, Math.floor(number / sprite.columns)];
          const left = event.clientX - box.left + (event.clientX > box.left + box.width / 2 ? -sprite.side - 14 : 14);
          thumbnail.style.cssText = `display:block;left:${left}px;top:${event.clientY - box.top + 14}px;
            width:${sprite.side}px;height:${sprite.side}px;
            background:url(${sprite.url}) ${-column * sprite.side}px ${-row * sprite.side}px`;
        });
        frame.on("plotly_unhover", () => (thumbnail.style.display = "none"));
        // A figure in a closed tab has no width; draw it again when it gets one.
        new ResizeObserver(() => {
          if (!frame.clientWidth) return;
          if ((value?.layout.meta || {}).narrow && narrow !== frame.clientWidth < NARROW) draw();
          else Plotly.Plots.resize(frame);
        }).observe(frame);
      });
    };
    watch("value", draw);
    draw();
  }

  // Controls and single choices that would not change the answer. A style, since those in a closed accordion are
  // not there yet.
  const idle = document.head.appendChild(document.createElement("style"));
  function grey(names) {
    const rule = (name) => {
      const [control, choice] = name.split("=");
      if (choice) return `#control-${control} label:has(input[value="${choice}"]) { opacity: 0.45 }`;
      return `#control-${control} { opacity: 0.45; --idle: " No effect here." }`;
    };
    idle.textContent = names.map(rule).join("");
  }

  function saveFigure(name) {
    const frame = document.querySelector("#figure .vitrine-figure");
    const dark = document.body.classList.contains("dark");
    const { data, layout } = frame;
    const paper = { ...layout, paper_bgcolor: dark ? "#15181d" : "#ffffff" };
    return Plotly.downloadImage(
      { data, layout: paper },
      { format: "png", filename: name, width: frame.clientWidth, height: layout.height, scale: 2 },
    );
  }

  // ---- canvas: draw with mouse, finger or pen on white paper; paste and drop go to the upload button
  function canvas(element, props, trigger, watch) {
    const board = element.querySelector("canvas");
    const pen = board.getContext("2d");
    const side = board.width;
    let shown = null;
    let last = null;
    const clear = element.querySelector(".clear"); // there only if this paper can be drawn on
    let drawing = false; // the paper is what the visitor touched last

    const blank = () => {
      if (!clear) return pen.clearRect(0, 0, side, side); // a photo's margins show the page
      pen.fillStyle = "#ffffff";
      pen.fillRect(0, 0, side, side);
    };
    const show = () => {
      const url = props.value.own || props.value.shown;
      if (url === shown) return;
      if (drawing && !props.value.own) {
        // An answer that was asked for before the visitor began to draw must not take the drawing away.
        if (!last) props.value = { own: shown, shown: props.value.shown };
        return;
      }
      shown = url;
      if (!url) return blank();
      const picture = new Image();
      picture.onload = () => {
        if (url !== shown) return;
        blank();
        const scale = Math.min(side / picture.width, side / picture.height);
        const [width, height] = [picture.width * scale, picture.height * scale];
        pen.imageSmoothingEnabled = picture.width > 64; // small pictures keep their crisp pixels
        pen.drawImage(picture, (side - width) / 2, (side - height) / 2, width, height);
      };
      picture.src = url;
    };
    const send = () => {
      shown = board.toDataURL("image/png");
      props.value = { own: shown, shown: props.value.shown };
      trigger("input");
    };
    const place = (event) => {
      const box = board.getBoundingClientRect();
      return [((event.clientX - box.left) * side) / box.width, ((event.clientY - box.top) * side) / box.height];
    };
    const stroke = (event) => {
      const [x, y] = place(event);
      pen.strokeStyle = "#1d2430";
      pen.lineWidth = side / 13;
      pen.lineCap = pen.lineJoin = "round";
      pen.beginPath();
      pen.moveTo(...(last || [x, y]));
      pen.lineTo(x, y);
      pen.stroke();
      last = [x, y];
    };
    for (const kind of clear ? ["pointerdown", "keydown"] : []) {
      document.addEventListener(kind, (event) => (drawing = element.contains(event.target)), true);
    }
    if (clear) board.addEventListener("pointerdown", (event) => {
      board.setPointerCapture(event.pointerId);
      last = null;
      stroke(event);
    });
    board.addEventListener("pointermove", (event) => event.buttons && last && stroke(event));
    for (const end of ["pointerup", "pointercancel"]) {
      board.addEventListener(end, () => {
        if (last) send();
        last = null;
      });
    }
    clear?.addEventListener("click", () => {
      blank();
      send();
    });

    const hand = (files) => {
      const picker = document.querySelector("input[type=file]:has(+ #upload)");
      if (!files.length || !picker?.nextElementSibling.checkVisibility()) return; // hide=upload hides all ways in
      const carrier = new DataTransfer();
      carrier.items.add(files[0]);
      picker.files = carrier.files;
      picker.dispatchEvent(new Event("change", { bubbles: true }));
    };
    board.addEventListener("dragover", (event) => event.preventDefault());
    board.addEventListener("drop", (event) => {
      event.preventDefault();
      hand(event.dataTransfer.files);
    });
    document.addEventListener("paste", (event) => hand(event.clipboardData.files));
    watch("value", show);
    blank();
    show();
  }

  // ---- sentence: what is typed is sent once the keys rest
  const REST = 350; // milliseconds
  function sentence(element, props, trigger, watch) {
    const field = element.querySelector("textarea");
    let waiting = 0;
    let typed = false; // the sentence is what the visitor touched last
    const show = () => {
      const text = props.value.own || props.value.shown;
      if (typed) {
        // An answer that was asked for before the visitor began to type must not take the words away.
        if (!props.value.own) props.value = { own: field.value || " ", shown: props.value.shown };
        return;
      }
      if (field.value !== text) field.value = text;
    };
    const send = () => {
      props.value = { own: field.value || " ", shown: props.value.shown };
      trigger("input");
    };
    for (const kind of ["pointerdown", "keydown"]) {
      document.addEventListener(kind, (event) => (typed &&= element.contains(event.target)), true);
    }
    field.addEventListener("input", () => {
      typed = true;
      clearTimeout(waiting);
      waiting = setTimeout(send, REST);
    });
    for (const key of element.querySelectorAll(".keys button")) {
      key.addEventListener("click", () => {
        field.setRangeText(key.textContent, field.selectionStart, field.selectionEnd, "end");
        field.focus();
        field.dispatchEvent(new Event("input"));
      });
    }
    watch("value", show);
    show();
  }

  // ---- play: a slider goes through its values, from the start if it is at its end, until the button is pressed again
  const TICK = 700; // milliseconds for one value
  const clocks = {};
  function play(name) {
    const button = document.querySelector(`#play-${name}`);
    const slider = document.querySelector(`#control-${name} input[type=range]`);
    const [low, high, step] = [slider.min, slider.max, slider.step].map(Number);
    const pause = () => {
      clocks[name] = clearInterval(clocks[name]);
      button.textContent = button.dataset.title;
    };
    const error = () => document.querySelector("#note .error");
    const former = error();
    const move = (value) => {
      if (error() && error() !== former) return pause(); // the page cannot answer
      slider.value = value;
      slider.dispatchEvent(new Event("input", { bubbles: true }));
      if (value >= high) pause();
    };
    if (clocks[name]) return pause();
    button.dataset.title ??= button.textContent;
    button.textContent = "Pause";
    clocks[name] = setInterval(() => move(Number(slider.value) + step), TICK);
    move(Number(slider.value) >= high ? low : Number(slider.value) + step);
  }

  // ---- address: the browser's bar holds the whole state; the teacher's flags stay in it
  // A control moved before the state of a link has arrived would lose it: until then nothing can be moved.
  const held = (event) => event.key !== "Tab" && event.preventDefault();
  if (location.search) {
    document.documentElement.classList.add("opening");
    addEventListener("keydown", held, true);
    setTimeout(opened, 10_000); // a server that is gone must not lock the page
  }

  function opened() {
    document.documentElement.classList.remove("opening");
    removeEventListener("keydown", held, true);
  }

  let tourStep = 0; // from 0, as the server counts; the address counts from 1

  function address(state) {
    const next = new URLSearchParams(state);
    if (tourStep) next.set("step", tourStep + 1);
    for (const flag of FLAGS) if (query.has(flag)) next.set(flag, query.get(flag));
    history.replaceState(null, "", location.pathname + (String(next) ? "?" + next : ""));
  }

  // Another step of the tour: it belongs to the link, and its figure has to be seen.
  function step(index) {
    tourStep = index;
    const state = new URLSearchParams(location.search);
    state.delete("step");
    if (tourStep || location.search.includes("step=")) address(state);
    if (!document.documentElement.classList.contains("opening"))
      document.querySelector("#figure").scrollIntoView({ block: "nearest" });
  }

  async function copyLink(button) {
    const link = location.href;
    const label = document.querySelector(button);
    const former = label.textContent;
    try {
      await navigator.clipboard.writeText(link);
    } catch {
      // Without https (a class on the local network) the clipboard is reached only this way.
      const field = document.createElement("textarea");
      field.value = link;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    label.textContent = "Copied";
    setTimeout(() => (label.textContent = former), 1500);
  }

  function printSheet(sheet) {
    const address = new Option(location.href).innerHTML; // escaped by the browser
    const frame = document.createElement("iframe");
    frame.style.cssText = "position:fixed;width:0;height:0;border:0";
    frame.srcdoc = sheet.replace("{{address}}", () => address);
    frame.onload = () => {
      frame.contentWindow.print();
      setTimeout(() => frame.remove(), 60000);
    };
    document.body.append(frame);
  }

  // ---- teacher's flags: hide=a,b removes controls; embed=1 the frame; present=1 enlarges, arrow keys step the tour
  function flags() {
    const hidden = (query.get("hide") || "").split(",").filter((name) => /^\w+$/.test(name));
    const style = document.createElement("style");
    style.textContent = hidden.map((name) => `#control-${name}, .part-of-${name} { display: none !important; }`).join("\n");
    document.head.append(style);
    for (const flag of ["embed", "present"]) document.documentElement.classList.toggle(flag, query.get(flag) === "1");
    if (query.get("present") === "1") {
      document.addEventListener("keydown", (event) => {
        if (event.target.closest("input, textarea, [role=radio], [role=tab]")) return;
        const button = { ArrowRight: "#tour-next", ArrowLeft: "#tour-back" }[event.key];
        if (button) document.querySelector(button)?.click();
      });
    }
  }
  flags();

  return { figure, saveFigure, canvas, sentence, play, address, step, opened, copyLink, printSheet };
})();
