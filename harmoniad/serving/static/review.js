"use strict";
// Everything works without this: it adds keys and the slider.
(function () {
  const slider = document.querySelector(".slider");
  const heat = document.querySelector(".heat");
  if (slider && heat) {
    const range = slider.querySelector("input");
    slider.hidden = false;
    const show = () => { heat.style.opacity = range.value / 100; };
    range.addEventListener("input", show);
    show();
  }
  let isSent = false;
  document.addEventListener("submit", (event) => {
    if (isSent) event.preventDefault();  // a second press while the first is on its way
    isSent = true;
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("select, input:not([type=range])");
    if (typing || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.type === "range" && event.key.startsWith("Arrow")) return;
    const wanted = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
    if (!wanted) return;
    event.preventDefault();
    wanted.click();
  });
})();
