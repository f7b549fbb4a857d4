"use strict";
// Everything can be read without this: it adds a filter and larger pictures.
(function () {
  const shots = [...document.querySelectorAll(".shot")];
  const filters = document.querySelector(".filters");
  const dialog = document.querySelector("dialog");
  if (!shots.length || !filters || !dialog) return;
  document.documentElement.classList.add("has-script");
  filters.hidden = false;
  document.querySelectorAll(".with-script").forEach((hint) => { hint.hidden = false; });

  const chosen = (name) => {
    const select = filters.querySelector(`[data-filter="${name}"]`);
    return select ? select.value : "";
  };
  const visible = () => shots.filter((shot) => !shot.hidden && !shot.closest(".group").hidden);
  function filter() {
    const category = chosen("category"), group = chosen("group");
    shots.forEach((shot) => { shot.hidden = category !== "" && shot.dataset.category !== category; });
    document.querySelectorAll(".group").forEach((section) => {
      const empty = !section.querySelector(".shot:not([hidden])");
      section.hidden = empty || (group !== "" && section.dataset.group !== group);
    });
    filters.querySelector("[data-count]").textContent = `${visible().length} of ${shots.length} images`;
  }
  filters.addEventListener("change", filter);
  filter();

  let current = null;
  function enlarge(shot) {
    current = shot;
    dialog.querySelector(".panels").replaceChildren(
      ...[...shot.querySelectorAll(".panels > div:not(.none)")].map((panel) => panel.cloneNode(true)));
    dialog.querySelector("p").textContent = shot.querySelector("figcaption").innerText.replace(/\s+/g, " ").trim();
    if (!dialog.open) dialog.showModal();
  }
  function step(by) {
    const list = visible();
    const next = list[list.indexOf(current) + by];
    if (next) enlarge(next);
  }
  shots.forEach((shot) => shot.addEventListener("click", (event) => {
    if (event.target.tagName === "IMG") enlarge(shot);
  }));
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
    else if (event.target.dataset.step) step(Number(event.target.dataset.step));
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
})();
