"use strict";
// What the pages do beside htmx. Without this file every page works, but for what refreshes itself.
(() => {
  // A hidden page asks for nothing; nor does one whose reader has paused it.
  let paused = false;
  document.addEventListener("htmx:before:request", (event) => {
    if (document.hidden || paused) event.preventDefault();
  });

  const theme = document.querySelector("form.theme");
  theme?.querySelector("select").addEventListener("change", () => theme.requestSubmit());
  theme?.classList.add("scripted");

  // Pages that refresh themselves can be paused.
  const refreshed = document.querySelector("[hx-trigger^=every]");
  if (refreshed) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "pause";
    const tell = () => {
      button.textContent = paused ? "Paused" : "Live";
      button.setAttribute("aria-pressed", String(paused));
      button.title = paused ? "Go on refreshing (t)" : "Pause refreshing (t)";
    };
    button.addEventListener("click", () => { paused = !paused; tell(); });
    tell();
    document.querySelector("header.top").insertBefore(button, theme);
  }
})();
