// The page of imports: sends the files that are dropped on it, one after the other, and shows how far they are without a reload.
"use strict";
{
  const work = document.getElementById("work");
  const busy = () => work.querySelector('[data-state="working"], [data-state="waiting"]') !== null;
  renewing(work, 1000, (text) => {
    const before = busy();
    work.innerHTML = text;
    if (before && !busy() && document.getElementById("sending")?.hidden !== false) location.reload();
    return busy() ? 1000 : 5000;
  });

  const drop = document.getElementById("drop");
  if (drop) {
    const input = document.getElementById("file");
    const agency = document.getElementById("agency");
    const sending = document.getElementById("sending");
    const refused = document.getElementById("refused");
    const refuse = (name, why) => {
      refused.append(Object.assign(document.createElement("p"), { textContent: `${name}: ${why}` }));
      refused.hidden = false;
    };
    const send = (file) => new Promise((done) => {
      const request = new XMLHttpRequest();
      request.open("POST", `${drop.dataset.to}?name=${encodeURIComponent(file.name)}&agency=${encodeURIComponent(agency.value)}`);
      request.setRequestHeader("content-type", "application/octet-stream");
      request.setRequestHeader("x-csrf-token", drop.dataset.csrf);
      sending.querySelector("span").textContent = file.name;
      request.upload.onprogress = (event) => { sending.querySelector("progress").value = event.total ? event.loaded / event.total : 0; };
      request.onload = () => {
        if (request.status >= 400) {
          let told = {};
          try { told = JSON.parse(request.responseText); } catch { /* no document of ours */ }
          refuse(file.name, [told.detail ?? request.statusText, told.remedy].filter(Boolean).join(" → "));
        }
        done();
      };
      request.onerror = () => { refuse(file.name, request.statusText || "–"); done(); };
      request.send(file);
    });
    const sendAll = async (files) => {
      refused.replaceChildren();
      refused.hidden = true;
      sending.hidden = false;
      for (const file of files) await send(file);
      sending.hidden = true;
      input.value = "";
      const answer = await fetch(work.dataset.from, { headers: { accept: "text/html" }, redirect: "error" });
      if (answer.ok) work.innerHTML = await answer.text();
    };
    dropping(drop, input, sendAll);
  }
}
