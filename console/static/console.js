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
      button.textContent = paused ? "Paused" : "Refreshing";
      button.setAttribute("aria-pressed", String(paused));
      button.title = paused ? "Go on refreshing (t)" : "Pause refreshing (t)";
    };
    button.addEventListener("click", () => { paused = !paused; tell(); });
    tell();
    document.querySelector("header.top").insertBefore(button, theme);
  }

  // The slider shows a version as soon as it is moved.
  const slider = document.querySelector("input[type=range]");
  slider?.addEventListener("change", () => slider.form.requestSubmit());

  // Keys: / search, g and a letter for a page, [ and ] versions, j and k rows, t pause. Not while something is typed.
  const go = { o: "/", e: "/events", p: "/projections", d: "/doctor", c: "/configuration", j: "/jobs", i: "/imports", a: "/audit", k: "/keys" };
  const home = document.querySelector("a.brand").getAttribute("href").slice(0, -1);
  let going = false;
  const follow = (selector) => document.querySelector(selector)?.click();
  const step = (by) => {
    const links = [...document.querySelectorAll("main tbody tr td:first-child a, main .rows a, main .steps > li > p:first-child a")];
    const at = links.indexOf(document.activeElement);
    links[Math.min(links.length - 1, Math.max(0, at + by))]?.focus();
  };
  const keys = {
    "/": () => document.getElementById("q")?.focus(),
    "[": () => follow("main a[rel=prev]"),
    "]": () => follow("main a[rel=next]"),
    j: () => step(1),
    k: () => step(-1),
    t: () => follow("button.pause"),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    if (going && go[event.key]) location.href = home + go[event.key];
    else if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
    going = event.key === "g";
  });
})();
