// Draw faces: the best generator answers in the browser, one face after the other.
"use strict";

(() => {
  const SIDE = 64;
  const ACROSS = 4; // faces in a row of the sheet
  const FACES = ACROSS * ACROSS;
  const SEEDS = 10; // whose noise travels, as browser.py has it
  const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);

  // Two independent normal numbers from two uniform ones (Box and Muller 1958), as many pairs as are needed.
  function normal(length) {
    const found = new Float32Array(length);
    for (let place = 0; place < length; place += 2) {
      const radius = Math.sqrt(-2 * Math.log(1 - Math.random()));
      const angle = 2 * Math.PI * Math.random();
      found[place] = radius * Math.cos(angle);
      if (place + 1 < length) found[place + 1] = radius * Math.sin(angle);
    }
    return found;
  }

  // The network's picture, three planes in [0, 1], as a canvas takes it.
  function image(values) {
    const pixels = new ImageData(SIDE, SIDE);
    for (let place = 0; place < SIDE * SIDE; place++) {
      for (let colour = 0; colour < 3; colour++)
        pixels.data[4 * place + colour] = Math.round(255 * values[colour * SIDE * SIDE + place]);
      pixels.data[4 * place + 3] = 255;
    }
    return pixels;
  }

  vitrine.live(({ place, network }) => {
    const options = Array.from({ length: SEEDS }, (_, seed) => `<option>${seed}</option>`).join("");
    place.innerHTML = `
      <figure><figcaption>Faces drawn here, now <button id="other">Other noise</button></figcaption>
      <canvas id="sheet" width="${ACROSS * SIDE}" height="${ACROSS * SIDE}" role="img" tabindex="0"
      aria-label="A sheet of ${FACES} faces; a click or the arrow keys choose one"></canvas></figure>
      <div><canvas id="chosen" width="${SIDE}" height="${SIDE}" role="img" aria-label="The chosen face, larger"></canvas>
      <label>or the noise of seed <select id="seed"><option value="">choose</option>${options}</select></label>
      <div id="directions"></div></div>`;
    const find = (id) => place.querySelector(`#${id}`);
    const [sheet, chosen] = [find("sheet").getContext("2d"), find("chosen").getContext("2d")];
    const state = { noise: [], face: 0, steps: [], directions: [] };
    const asked = { sheet: 0, face: 0 }; // what was asked last; an older sheet stops where it is

    const drawn = async (noise) => {
      const { ort, session, beside } = await network();
      const { picture } = await session.run({ latent: new ort.Tensor("float32", noise, [1, beside.length]) });
      return picture.data;
    };
    const moved = (noise) =>
      noise.map((value, unit) =>
        state.steps.reduce((sum, step, number) => sum + step * state.directions[number * noise.length + unit], value),
      );

    const choose = async () => {
      if (!state.noise.length) return;
      const mine = ++asked.face;
      const picture = await drawn(moved(state.noise[state.face]));
      if (mine !== asked.face) return;
      chosen.canvas.setAttribute("aria-label", `Face ${state.face + 1} of ${FACES}, larger`);
      chosen.putImageData(image(picture), 0, 0);
      vitrine.answered = { face: state.face, steps: [...state.steps], picture, seed: find("seed").value };
    };

    const draw = async (noises) => {
      const mine = ++asked.sheet;
      state.noise = noises;
      for (const [number, noise] of noises.entries()) {
        const picture = await drawn(noise);
        if (mine !== asked.sheet) return;
        sheet.putImageData(image(picture), SIDE * (number % ACROSS), SIDE * Math.floor(number / ACROSS));
        if (number === state.face) await choose();
        await new Promise((resolve) => setTimeout(resolve)); // each face is seen when it is there
      }
      vitrine.sheets = (vitrine.sheets || 0) + 1; // for whoever looks behind the page
    };

    // The sliders, once the network says what its directions do; each sheet begins with all of them in the middle.
    const still = (beside) => {
      state.directions = floats(beside.directions);
      state.steps = beside.named.map(() => 0);
      const labels = beside.named.map((words, number) => {
        const label = Object.assign(document.createElement("label"), { textContent: `Direction ${number + 1}: ${words} ` });
        const range = { type: "range", min: -4, max: 4, step: 0.1, value: 0 };
        const slider = label.appendChild(Object.assign(document.createElement("input"), range));
        slider.addEventListener("input", () => {
          state.steps[number] = Number(slider.value);
          choose();
        });
        return label;
      });
      find("directions").replaceChildren(...labels);
    };
    find("other").addEventListener("click", async () => {
      const { beside } = await network();
      find("seed").value = "";
      still(beside);
      draw(Array.from({ length: FACES }, () => normal(beside.length)));
    });
    find("seed").addEventListener("change", async () => {
      const { beside } = await network();
      if (find("seed").value === "") return;
      still(beside);
      const noise = floats(beside.sheets[Number(find("seed").value)]);
      draw(Array.from({ length: FACES }, (_, number) => noise.slice(number * beside.length, (number + 1) * beside.length)));
    });
    sheet.canvas.addEventListener("click", (event) => {
      const box = sheet.canvas.getBoundingClientRect();
      const [across, down] = [event.clientX - box.left, event.clientY - box.top].map((at) => Math.floor((ACROSS * at) / box.width));
      state.face = Math.min(Math.max(ACROSS * down + across, 0), FACES - 1);
      choose();
    });
    sheet.canvas.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: ACROSS, ArrowUp: -ACROSS }[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation(); // the tour listens to arrows, too
      state.face = (state.face + by + FACES) % FACES;
      choose();
    });
  });
})();
