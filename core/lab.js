// The figure of a concept page: one Plotly drawing that is updated in place, so that nothing flickers
// while a slider moves, with buttons for its animation. Nothing here knows a topic.

const NARROW = 480; // pixels; a figure on a phone
const MOMENT_MS = 60; // how long the animation shows one frame

function library(address) {
  // Once for the whole window: Streamlit runs this module anew for every page.
  window.vitrinePlotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      window.vitrinePlotly = undefined; // the next figure tries again
      reject(new Error(`${address} did not come`));
    };
    document.head.append(script);
  });
  return window.vitrinePlotly;
}

// Panels that stand side by side may have other places on a phone: `meta.narrow` says which.
function fitting(layout, width) {
  if (width >= NARROW || !layout.meta?.narrow) return { ...layout };
  const merged = { ...layout, ...layout.meta.narrow };
  for (const key of Object.keys(merged)) {
    if (/^[xy]axis/.test(key)) merged[key] = { ...layout[key], ...merged[key] };
  }
  return merged;
}

// What an animation shows: `index` of its frames, and whether it runs by itself.
function player(root, frame, Plotly) {
  const [bar, play, scrub, label] = [".player", ".play", ".scrub", ".moment"].map((name) => root.querySelector(name));
  const state = { frames: [], timer: 0 };
  const show = (index) => {
    const last = state.frames.length - 1;
    const bounded = Math.max(0, Math.min(last, index));
    scrub.value = bounded;
    label.textContent = state.frames[bounded].name;
    Plotly.animate(frame, [state.frames[bounded].name], {
      mode: "immediate",
      frame: { duration: 0, redraw: state.redraw },
      transition: { duration: 0 },
    }).catch(() => {}); // a newer figure has come meanwhile
    if (bounded === last) pause();
  };
  const pause = () => {
    clearInterval(state.timer);
    state.timer = 0;
    play.textContent = "Play";
  };
  const step = (by) => {
    pause();
    show(Number(scrub.value) + by);
  };
  play.onclick = () => {
    if (state.timer) return pause();
    if (Number(scrub.value) >= state.frames.length - 1) show(0);
    play.textContent = "Pause";
    state.timer = setInterval(() => show(Number(scrub.value) + 1), MOMENT_MS);
  };
  root.querySelector(".back").onclick = () => step(-1);
  root.querySelector(".forward").onclick = () => step(1);
  scrub.oninput = () => step(0);
  return (figure) => {
    pause();
    state.frames = figure.frames || [];
    state.redraw = figure.data.some((trace) => trace.type === "heatmap");
    bar.hidden = !state.frames.length;
    if (bar.hidden) return;
    scrub.max = state.frames.length - 1;
    scrub.value = scrub.max;
    label.textContent = state.frames.at(-1).name;
  };
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".lab-figure");
  const frame = root.querySelector(".drawing");
  root.latest = data;
  frame.style.minHeight = fitting(data.figure.layout, frame.clientWidth).height + "px";
  frame.setAttribute("aria-label", data.figure.layout.meta.sentence);
  const draw = async (Plotly) => {
    const { figure } = root.latest;
    const layout = fitting(figure.layout, frame.clientWidth);
    frame.style.minHeight = layout.height + "px";
    // What is there already, in this width, goes on where its animation is.
    const told = JSON.stringify([frame.clientWidth, figure]);
    if (told !== root.told) {
      root.told = told;
      await Plotly.react(frame, { ...figure, layout, config: { displayModeBar: false, responsive: true } });
      root.rewind ??= player(root, frame, Plotly);
      root.rewind(figure);
    }
    frame.dataset.drawn = Number(frame.dataset.drawn || 0) + 1;
  };
  library(data.plotly).then(async (Plotly) => {
    await draw(Plotly);
    if (root.dataset.bound) return;
    root.dataset.bound = "yes";
    let width = frame.clientWidth;
    new ResizeObserver(() => {
      if (!frame.clientWidth || frame.clientWidth === width) return;
      width = frame.clientWidth;
      draw(Plotly);
    }).observe(frame);
    // Any place of the first panel can be clicked, not only the points of a curve.
    frame.addEventListener("click", (event) => {
      const panel = frame.querySelector(".nsewdrag[data-subplot='xy']");
      if (!root.latest.clickable || !panel) return;
      const box = panel.getBoundingClientRect();
      const [across, down] = [event.clientX - box.left, event.clientY - box.top];
      if (across < 0 || down < 0 || across > box.width || down > box.height) return;
      const { xaxis, yaxis } = frame._fullLayout;
      setTriggerValue("clicked", [xaxis.p2d(across), yaxis.p2d(down)]);
    });
  });
}
