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
      props.value = value;
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
  vitrine.fill = fill;

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
    if (event.target.closest("input, textarea, select")) return;
    const button = { ArrowRight: "next", ArrowLeft: "back" }[event.key];
    if (button && !find(button).disabled) find(button).click();
  });
  ask();
  fill(answers[0]);
  frame("measured")(measured);
};
