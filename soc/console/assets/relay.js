// The rules of a relay by keyboard: Alt with an arrow moves the rule that one is in, as its buttons do.
"use strict";
{
  const form = document.getElementById("relay");
  if (form) {
    for (const hint of form.querySelectorAll("[data-keys]")) hint.hidden = false;
    form.addEventListener("keydown", (event) => {
      const verb = { ArrowUp: "up", ArrowDown: "down" }[event.key];
      if (!verb || !event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      const button = event.target.closest("tr")?.querySelector(`button[value^="${verb}:"]`);
      if (!button) return;
      event.preventDefault();
      if (!button.disabled) form.requestSubmit(button);
    });
  }
}
