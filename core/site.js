// A page of the static site: shows stored answers, and leads through the tour. Nothing here knows a topic.
"use strict";

vitrine.show = ({ answers, tour, measured }) => {
  const find = (id) => document.getElementById(id);
  const text = (tag, words, name = "") => Object.assign(document.createElement(tag), { textContent: words, className: name });

  // A place for a figure, as page.js draws it; it is told of a new value by hand.
  const frame = (id) => {
    let redraw = () => {};
    const props = { value: null };
    const watch = (_, changed) => (redraw = changed);
    vitrine.figure(find(id), props, () => {}, watch);
    return (value) => {
      props.value = JSON.stringify(value);
      redraw();
    };
  };
  const figure = frame("figure");

  const fill = (answer) => {
    figure(answer.figure);
    find("tiles").innerHTML = answer.tiles;
    if (answer.input) find("input").innerHTML = answer.input;
    find("settings").textContent = answer.settings;
    find("remark").textContent = answer.remark;
  };

  // Steps are asked first: what to watch, why, and the answer of the discovery come after a choice.
  let index = 0;
  const ask = () => {
    const step = tour[index];
    const place = find("step");
    place.replaceChildren(text("p", `Tour ${index + 1} of ${tour.length}. ${step.ask}`, "ask"));
    const row = place.appendChild(text("p", "", "row-of-buttons choices"));
    step.choices.forEach((choice, number) => {
      const button = row.appendChild(text("button", choice));
      button.addEventListener("click", () => {
        for (const other of row.children) other.disabled = true;
        button.classList.add("chosen");
        const verdict = number === step.right ? "Correct." : `The answer: ${step.choices[step.right]}.`;
        place.append(text("p", `You said: ${choice}. ${verdict}`, "said"), text("p", step.look), text("p", step.why));
        fill(answers[2 * index + 2]);
      });
    });
    find("back").disabled = index === 0;
    find("next").disabled = index === tour.length - 1;
  };
  const go = (by) => {
    index += by;
    ask();
    fill(answers[2 * index + 1]);
  };
  find("back").addEventListener("click", () => go(-1));
  find("next").addEventListener("click", () => go(1));
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, textarea, select")) return;
    const button = { ArrowRight: "next", ArrowLeft: "back" }[event.key];
    if (button && !find(button).disabled) find(button).click();
  });
  vitrine.kept = { answers, figure, say: (id, words) => (find(id).textContent = words) };
  ask();
  fill(answers[0]);
  frame("measured")(measured);
};

// The live part of a page: its script calls this with what sets the controls up. Nothing is loaded before a touch.
vitrine.live = (setup) => {
  const { answers, figure, say } = vitrine.kept;
  const place = document.getElementById("live");
  if (location.protocol === "file:") {
    say("loading", "Opened from a disk, this page shows stored answers. Where a web server shows it, the controls are live.");
    return;
  }
  const script = (address) =>
    new Promise((resolve, reject) => {
      const element = Object.assign(document.createElement("script"), { src: address, onload: resolve, onerror: reject });
      document.head.append(element);
    });
  const load = async () => {
    say("loading", `Loading the network and its runtime, ${place.dataset.megabytes} MB, once.`);
    try {
      await script("../assets/ort.wasm.min.js");
      ort.env.wasm.wasmPaths = new URL("../assets/", location.href).href;
      ort.env.wasm.numThreads = 1; // more would need headers that a plain web server does not send
      const [session, beside] = await Promise.all([
        ort.InferenceSession.create("network.onnx"),
        fetch("beside.json").then((answer) => answer.json()),
      ]);
      say("loading", "");
      return { ort, session, beside };
    } catch (error) {
      loaded = undefined; // the next touch tries again
      say("loading", "The network could not be loaded; the stored answers stay.");
      throw error;
    }
  };
  let loaded;
  const network = () => (loaded ??= load());
  const draw = (value, words) => {
    figure(value);
    say("settings", words);
    say("remark", "");
    document.getElementById("input").replaceChildren();
  };
  setup({ place, network, first: answers[0], draw });
};
