// Lists by keyboard: j and k go from row to row, Enter opens (the row's link has the focus), / goes to the search, ? says so.
"use strict";
{
  const help = document.getElementById("keys");
  const rows = () => [...document.querySelectorAll("main table:not(.fields) tbody tr")].map((row) => row.querySelector("a[href]")).filter(Boolean);
  const go = (step) => {
    const links = rows();
    const row = document.activeElement.closest("tr");
    const at = links.findIndex((link) => row && link.closest("tr") === row);
    const next = links[at < 0 ? (step > 0 ? 0 : links.length - 1) : at + step];
    if (!next) return;
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  };
  const search = () => {
    const field = document.querySelector("main form input:not([type=hidden])");
    if (!field) return;
    field.focus();
    field.select();
  };
  const does = { j: () => go(1), k: () => go(-1), "/": search, "?": () => help.showModal() };
  let menu = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || help.open) return;
    if (event.target.closest("input, select, textarea, [contenteditable]")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const place = menu && /^[1-9]$/.test(event.key) && document.querySelectorAll("header nav a")[event.key - 1];
    menu = event.key === "g";
    if (place) return place.click();
    if (!does[event.key]) return;
    event.preventDefault();
    does[event.key]();
  });
}
