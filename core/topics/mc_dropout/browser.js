// Draw a digit and turn it: the thinned networks answer in the browser. The masks are those of the page's seed 0.
"use strict";

(() => {
  const SIDE = 28;
  const BOX = 20; // MNIST fits each digit into 20 by 20 pixels
  const BOARD = 280;
  const FAINT = 0.12; // as in picture.py
  const LN10 = Math.log(10);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  // ---- from a drawing to a picture as MNIST frames it: what picture.py does for clean, dark ink on white paper
  function framed(grey, side) {
    const small = smoothed(halved(grey, side), side / 2);
    const size = side / 2;
    const ink = small.map((value) => 1 - value);
    if (Math.max(...ink) < FAINT) return null;
    const clear = Math.max(otsu(ink), FAINT);
    const strokes = ink.map((value) => value > Math.max(clear / 2, FAINT));
    const near = widened(strokes, size, 2);
    const levels = ink.filter((_, place) => strokes[place]).sort((a, b) => a - b);
    const dark = quantile(levels, 0.75);
    let [top, left, bottom, right] = [size, size, -1, -1];
    strokes.forEach((is, place) => {
      if (!is) return;
      const [row, column] = [Math.floor(place / size), place % size];
      [top, left, bottom, right] = [Math.min(top, row), Math.min(left, column), Math.max(bottom, row), Math.max(right, column)];
    });
    const [height, width] = [bottom - top + 1, right - left + 1];
    const cut = [];
    for (let row = top; row <= bottom; row++)
      for (let column = left; column <= right; column++) {
        const place = row * size + column;
        cut.push(near[place] ? Math.min(ink[place] / dark, 1) : 0);
      }
    const scale = BOX / Math.max(height, width);
    const [rows, columns] = [height, width].map((length) => Math.max(1, Math.round(length * scale)));
    const fitted = resized(cut, height, width, rows, columns);
    const most = Math.max(...fitted);
    let [mass, down, across] = [0, 0, 0];
    fitted.forEach((value, place) => {
      mass += value;
      down += value * Math.floor(place / columns);
      across += value * (place % columns);
    });
    const start = (middle, extent) => Math.min(Math.max(Math.round(SIDE / 2 - middle), 0), SIDE - extent);
    const [first, second] = [start(down / mass, rows), start(across / mass, columns)];
    const picture = new Float32Array(SIDE * SIDE);
    fitted.forEach((value, place) => {
      picture[(first + Math.floor(place / columns)) * SIDE + second + (place % columns)] = value / most;
    });
    return picture;
  }

  function halved(grey, side) {
    const half = side / 2;
    return Array.from({ length: half * half }, (_, place) => {
      const corner = 2 * Math.floor(place / half) * side + 2 * (place % half);
      return (grey[corner] + grey[corner + 1] + grey[corner + side] + grey[corner + side + 1]) / 4;
    });
  }

  // Against noise, a narrow bell, first along rows, then along columns.
  function smoothed(grey, size) {
    const sigma = size / 200;
    const reach = Math.floor(4 * sigma + 0.5);
    const bell = Array.from({ length: 2 * reach + 1 }, (_, place) => Math.exp(-((place - reach) ** 2) / (2 * sigma ** 2)));
    const sum = bell.reduce((a, b) => a + b);
    const edge = (place) => Math.min(Math.max(place, 0), size - 1);
    const pass = (values, at) =>
      values.map((_, place) => {
        const [row, column] = [Math.floor(place / size), place % size];
        return bell.reduce((total, weight, number) => total + (weight / sum) * values[at(row, column, number - reach)], 0);
      });
    const rows = pass(grey, (row, column, by) => edge(row + by) * size + column);
    return pass(rows, (row, column, by) => row * size + edge(column + by));
  }

  // Which threshold splits the values into two groups that are furthest apart?
  function otsu(values) {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const counts = new Array(256).fill(0);
    for (const value of values) counts[Math.min(255, Math.floor(((value - low) / (high - low)) * 256))]++;
    const centre = (bin) => low + ((bin + 0.5) * (high - low)) / 256;
    const all = counts.reduce((sum, count, bin) => sum + count * centre(bin), 0);
    let [below, mass, best, found] = [0, 0, -1, low];
    counts.forEach((count, bin) => {
      below += count;
      mass += count * centre(bin);
      const above = values.length - below;
      const apart = below * above * (mass / Math.max(below, 1) - (all - mass) / Math.max(above, 1)) ** 2;
      if (apart > best) [best, found] = [apart, centre(bin)];
    });
    return found;
  }

  // One step takes what touches by a side.
  function widened(strokes, size, steps) {
    let near = strokes;
    for (let step = 0; step < steps; step++) {
      const former = near;
      near = former.map((is, place) => {
        const column = place % size;
        return is || former[place - size] || former[place + size] || (column > 0 && former[place - 1]) || (column < size - 1 && former[place + 1]);
      });
    }
    return near;
  }

  function quantile(sorted, share) {
    const place = (sorted.length - 1) * share;
    const low = Math.floor(place);
    return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
  }

  // Bilinear with as wide a tent as the picture shrinks, along rows and along columns.
  function resized(values, height, width, rows, columns) {
    const tents = (from, to) => {
      const scale = from / to;
      const reach = Math.max(scale, 1);
      return Array.from({ length: to }, (_, place) => {
        const middle = (place + 0.5) * scale;
        const low = Math.max(Math.floor(middle - reach + 0.5), 0);
        const high = Math.min(Math.floor(middle + reach + 0.5), from);
        const weights = [];
        for (let at = low; at < high; at++) weights.push(Math.max(0, 1 - Math.abs((at + 0.5 - middle) / reach)));
        const sum = weights.reduce((a, b) => a + b);
        return { low, weights: weights.map((weight) => weight / sum) };
      });
    };
    const across = tents(width, columns);
    const down = tents(height, rows);
    const narrow = [];
    for (let row = 0; row < height; row++)
      for (const { low, weights } of across)
        narrow.push(weights.reduce((sum, weight, by) => sum + weight * values[row * width + low + by], 0));
    const fitted = [];
    for (const { low, weights } of down)
      for (let column = 0; column < columns; column++)
        fitted.push(weights.reduce((sum, weight, by) => sum + weight * narrow[(low + by) * columns + column], 0));
    return fitted;
  }

  // ---- from the votes to what the page shows; the formulas are method.py's
  const entropy = (shares) => -shares.reduce((sum, share) => sum + (share > 0 ? share * Math.log(share) : 0), 0);

  function counted(votes, passes) {
    const rows = Array.from({ length: passes }, (_, pass) => Array.from(votes.slice(10 * pass, 10 * pass + 10)));
    const mean = rows[0].map((_, digit) => rows.reduce((sum, row) => sum + row[digit], 0) / passes);
    const top = mean.indexOf(Math.max(...mean));
    const agreeing = rows.filter((row) => row.indexOf(Math.max(...row)) === top).length;
    const picture = rows.reduce((sum, row) => sum + entropy(row), 0) / passes;
    const doubt = entropy(mean);
    return { rows, mean, top, agreeing, picture, doubt, model: Math.max(doubt - picture, 0) };
  }

  function drawn(template, found, passes) {
    const figure = structuredClone(template);
    figure.layout.meta.sentence =
      `${passes} votes per digit. ${found.top} is first with a mean probability of ${Math.round(100 * found.mean[found.top])}%, ` +
      `chosen by ${found.agreeing} of ${passes} passes; doubt ${Math.round((100 * found.doubt) / LN10)}% of its maximum.`;
    const spread = found.rows.map((_, pass) => (((pass * 0.618034) % 1) - 0.5) * 0.5);
    const digits = [...Array(10).keys()].filter((digit) => digit !== found.top);
    [digits, [found.top]].forEach((group, place) => {
      Object.assign(figure.data[place], {
        x: group.flatMap((digit) => spread.map((by) => digit + by)),
        y: group.flatMap((digit) => found.rows.map((row) => row[digit])),
        customdata: group.flatMap((digit) => spread.map((_, pass) => [pass + 1, digit])),
      });
    });
    figure.data[2].y = found.mean;
    return figure;
  }

  function tiled(found, passes) {
    const tile = (name, part) => document.querySelector(`#tiles .tile[data-name=${name}] ${part}`);
    tile("answer", ".value").textContent = found.top;
    tile("answer", ".caption").textContent = `mean probability ${Math.round(100 * found.mean[found.top])}%`;
    tile("votes", ".value").textContent = `${found.agreeing} of ${passes}`;
    tile("doubt", ".value").textContent = `${Math.round((100 * found.doubt) / LN10)}% doubt`;
    [found.model, found.picture].forEach((part, place) => {
      tile("doubt", `.bar .part-${place}`).style.width = `${(100 * part) / LN10}%`;
    });
  }

  vitrine.live(async ({ place, network, first, draw }) => {
    place.innerHTML = `
      <figure><figcaption>Draw a digit <button id="clear">Clear</button></figcaption>
      <canvas id="board" width="${BOARD}" height="${BOARD}" role="img" aria-label="Draw a digit"></canvas></figure>
      <div><label>Rotate <output id="degrees">0°</output>
      <input id="rotate" type="range" min="-180" max="180" step="5" value="0"></label>
      <label>or take <select id="sample"><option value="">a sample</option></select></label></div>`;
    const find = (id) => place.querySelector(`#${id}`);
    const pen = find("board").getContext("2d", { willReadFrequently: true });
    let picture = null; // as the network gets it, upright
    let last = null;
    const blank = () => {
      pen.fillStyle = "#ffffff";
      pen.fillRect(0, 0, BOARD, BOARD);
    };
    blank();

    let asked = 0;
    const answer = async () => {
      find("degrees").textContent = `${find("rotate").value}°`;
      const mine = ++asked;
      const { ort, session, beside } = await network();
      if (mine !== asked || !picture) return; // a later move is on its way
      const { passes, keep } = beside;
      const factors = (text, width) => {
        const bits = bytes(text);
        const unit = (_, number) => ((bits[number >> 3] >> (7 - (number & 7))) & 1) / keep;
        return new ort.Tensor("float32", Float32Array.from({ length: passes * width }, unit), [passes, width]);
      };
      network.masks ??= { first: factors(beside.masks[0], 3136), second: factors(beside.masks[1], 128) };
      const found = await session.run({
        picture: new ort.Tensor("float32", picture, [1, 1, SIDE, SIDE]),
        degrees: new ort.Tensor("float32", [Number(find("rotate").value)], [1]),
        ...network.masks,
      });
      if (mine !== asked) return;
      const counts = counted(found.votes.data, passes);
      draw(drawn(first.figure, counts, passes), "Drawn or chosen here, answered in this browser by 50 passes.");
      tiled(counts, passes);
      vitrine.answered = { seen: picture, votes: found.votes.data, ...counts }; // for whoever looks behind the page
    };

    const offer = async () => {
      const { beside } = await network();
      if (find("sample").length > 1) return;
      for (const label of Object.keys(beside.samples)) find("sample").add(new Option(label));
    };
    find("sample").addEventListener("pointerdown", offer, { once: true });
    find("sample").addEventListener("focus", offer, { once: true });
    find("sample").addEventListener("change", async () => {
      const { beside } = await network();
      const sample = beside.samples[find("sample").value];
      if (!sample) return;
      const values = bytes(sample);
      picture = Float32Array.from(values, (value) => value / 255);
      blank();
      const size = BOARD / SIDE;
      values.forEach((value, number) => {
        pen.fillStyle = `rgb(${255 - value},${255 - value},${255 - value})`;
        pen.fillRect((number % SIDE) * size, Math.floor(number / SIDE) * size, size, size);
      });
      answer();
    });
    find("rotate").addEventListener("input", answer);
    find("clear").addEventListener("click", () => {
      blank();
      picture = null;
    });

    const board = find("board");
    const point = (event) => {
      const box = board.getBoundingClientRect();
      return [((event.clientX - box.left) * BOARD) / box.width, ((event.clientY - box.top) * BOARD) / box.height];
    };
    const stroke = (event) => {
      const to = point(event);
      pen.strokeStyle = "#1d2430";
      pen.lineWidth = BOARD / 13;
      pen.lineCap = pen.lineJoin = "round";
      pen.beginPath();
      pen.moveTo(...(last || to));
      pen.lineTo(...to);
      pen.stroke();
      last = to;
    };
    board.addEventListener("pointerdown", (event) => {
      network(); // begins to load with the first touch
      if (find("sample").value) blank(); // a sample gives way to a drawing
      find("sample").value = "";
      board.setPointerCapture(event.pointerId);
      last = null;
      stroke(event);
    });
    board.addEventListener("pointermove", (event) => event.buttons && last && stroke(event));
    for (const end of ["pointerup", "pointercancel"]) {
      board.addEventListener(end, () => {
        if (!last) return;
        last = null;
        const { data } = pen.getImageData(0, 0, BOARD, BOARD);
        const grey = Array.from({ length: BOARD * BOARD }, (_, number) =>
          // Pillow's weights for grey, in whole numbers as it has them
          ((data[4 * number] * 19595 + data[4 * number + 1] * 38470 + data[4 * number + 2] * 7471 + 32768) >> 16) / 255,
        );
        picture = framed(grey, BOARD);
        answer();
      });
    }
  });
})();
