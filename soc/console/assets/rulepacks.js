// The page of rule packs: shows how far a pack is without a reload, and sends the zip that is dropped on it.
"use strict";
{
  const work = document.getElementById("work");
  const stateOf = () => work.querySelector("[data-state]")?.dataset.state ?? "";
  renewing(work, 1000, (text) => {
    const before = stateOf();
    work.innerHTML = text;
    if (before === "working" && stateOf() === "done") location.reload();
    return stateOf() === "working" ? 1000 : 5000;
  });

  const drop = document.getElementById("drop");
  if (drop) {
    const input = document.getElementById("pack");
    const sending = document.getElementById("sending");
    const refused = document.getElementById("refused");
    const send = async (file) => {
      refused.hidden = true;
      sending.hidden = false;
      const stem = file.name.replace(/\.zip$/i, "").replace(/[^\p{L}\p{N}_ .+-]/gu, "_").slice(0, 100);
      const name = /^sigma/i.test(stem) || !/^[\p{L}\p{N}_]/u.test(stem) ? "sigma" : stem;
      try {
        const answer = await fetch(`${drop.dataset.to}?name=${encodeURIComponent(name)}`, {
          method: "POST", body: file, headers: { "content-type": "application/zip", "x-csrf-token": drop.dataset.csrf },
        });
        if (answer.ok) return location.reload();
        const told = await answer.json();
        refused.textContent = [told.detail, told.remedy].filter(Boolean).join(" → ");
      } catch (fault) {
        refused.textContent = String(fault);
      }
      refused.hidden = false;
      sending.hidden = true;
      input.value = "";
    };
    dropping(drop, input, (files) => send(files[0]));
  }
}
