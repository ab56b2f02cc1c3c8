'use strict';
// Zooms by moving what is in the chart: bars are stretched, what has a size of its own keeps it.
(function () {
  const view = document.getElementById('view'), chart = document.getElementById('chart');
  const detail = document.getElementById('detail'), axis = document.getElementById('axis');
  const duration = Number(view.dataset.duration), PAD = 24, SPAN = chart.width.baseVal.value - 2 * PAD;
  const bars = [], marks = [], ticks = Array.from(axis.children);
  for (const element of chart.querySelectorAll('rect:not(.still)')) {
    if (element.closest('.at') === null) {
      const width = element.width.baseVal.value, exact = element.dataset.width;
      bars.push({ element, x: element.x.baseVal.value, width: Number(exact || width), least: exact === undefined ? 0 : width });
    }
  }
  for (const element of chart.querySelectorAll('.at')) {
    if (element.parentNode !== axis) {
      const place = element.transform.baseVal.getItem(0).matrix;
      marks.push({ element, x: place.e, y: place.f });
    }
  }
  // The browser's own tooltips would hide what they tell of.
  const tips = new Map();
  for (const title of chart.querySelectorAll('title')) {
    tips.set(title.parentNode, title.textContent);
    title.parentNode.setAttribute('aria-label', title.textContent);
    title.remove();
  }
  let zoom = 1, left = 0, planned = false;
  const place = x => PAD + ((x - PAD) - left) * zoom;
  function label(ns, step) {
    const s = ns / 1e9;
    if (ns === 0) { return '0'; }
    if (step >= 1e9 ? s > 59.5 : false) {
      const t = Math.round(s), two = n => String(n).padStart(2, '0'), h = Math.floor(t / 3600);
      return (h ? h + ':' + two(Math.floor(t / 60) % 60) : Math.floor(t / 60)) + ':' + two(t % 60);
    }
    if (step >= 1e9) { return Math.round(s) + ' s'; }
    if (duration >= 1e9) { return s.toFixed(Math.min(9, Math.ceil(-Math.log10(step / 1e9) - 1e-9))) + ' s'; }
    if (duration >= 1e6 ? !(step >= 1e6) : false) { return (ns / 1e6).toFixed(Math.min(6, Math.ceil(-Math.log10(step / 1e6) - 1e-9))) + ' ms'; }
    return step >= 1e6 ? Math.round(ns / 1e6) + ' ms' : step >= 1e3 ? Math.round(ns / 1e3) + ' µs' : Math.round(ns) + ' ns';
  }
  function step(wanted) {
    const clock = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400].map(s => s * 1e9);
    if (wanted > 5e10) { return clock.find(s => s >= wanted) || Math.ceil(wanted / 8.64e13) * 8.64e13; }
    const power = Math.pow(10, Math.floor(Math.log10(Math.max(wanted, 1))));
    return [1, 2, 5, 10].map(n => n * power).find(s => s >= wanted);
  }
  function draw() {
    planned = false;
    for (const bar of bars) {
      const x = place(bar.x);
      // What lies far outside is clipped anyway, and browsers draw patterns on huge shapes slowly.
      const from = Math.max(x, -50), to = Math.min(x + Math.max(bar.width * zoom, bar.least), SPAN + 80);
      bar.element.setAttribute('x', from);
      bar.element.setAttribute('width', Math.max(to - from, 0));
    }
    for (const mark of marks) { mark.element.setAttribute('transform', 'translate(' + place(mark.x) + ' ' + mark.y + ')'); }
    const apart = step(duration / zoom / 13);
    let at = Math.ceil(left / SPAN * duration / apart - 1e-9) * apart;
    for (const tick of ticks) {
      const x = place(PAD + SPAN * at / duration), there = !(at > duration * (1 + 1e-9) || x > SPAN + PAD + 1);
      tick.setAttribute('display', there ? 'inline' : 'none');
      if (there) {
        tick.setAttribute('transform', 'translate(' + x + ' ' + tick.dataset.y + ')');
        for (const text of tick.querySelectorAll('text')) { text.textContent = label(at, apart); }
      }
      at += apart;
    }
  }
  function to(newZoom, newLeft) {
    zoom = Math.min(Math.max(newZoom, 1), 1e6);
    left = Math.min(Math.max(newLeft, 0), SPAN - SPAN / zoom);
    if (!planned) { planned = true; requestAnimationFrame(draw); }
  }
  function around(x, factor) {
    const there = left + (x - PAD) / zoom, next = Math.min(Math.max(zoom * factor, 1), 1e6);
    to(next, there - (x - PAD) / next);
  }
  function px(event) {
    const box = view.querySelector('svg').getBoundingClientRect(), scale = box.width / view.querySelector('svg').viewBox.baseVal.width;
    return { x: (event.clientX - box.left) / scale - chart.x.baseVal.value, scale };
  }
  for (let n = ticks.length; n !== 16; n += n > 16 ? -1 : 1) {
    if (n > 16) { ticks.pop().remove(); } else { ticks.push(axis.appendChild(ticks[0].cloneNode(true))); }
  }
  for (const tick of ticks) { tick.dataset.y = ticks[0].transform.baseVal.getItem(0).matrix.f; }
  view.addEventListener('wheel', event => {
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) { to(zoom, left + event.deltaX / zoom); }
    else { around(px(event).x, Math.exp(-event.deltaY / 300)); }
  }, { passive: false });
  let held = null;
  view.addEventListener('pointerdown', event => { held = { x: event.clientX, left }; });
  window.addEventListener('pointerup', () => { held = null; });
  view.addEventListener('pointermove', event => {
    if (held !== null) { event.preventDefault(); to(zoom, held.left - (event.clientX - held.x) / px(event).scale / zoom); }
  });
  view.addEventListener('dblclick', () => to(1, 0));
  chart.addEventListener('pointerover', event => {
    let element = event.target;
    while (element !== null ? element !== chart ? !tips.has(element) : false : false) { element = element.parentNode; }
    if (tips.has(element)) { detail.textContent = tips.get(element); }
  });
  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey) { return; }
    const middle = PAD + SPAN / 2, move = SPAN / 5 / zoom;
    const keys = { '+': () => around(middle, 1.5), '=': () => around(middle, 1.5), '-': () => around(middle, 1 / 1.5), '0': () => to(1, 0),
      ArrowLeft: () => to(zoom, left - move), ArrowRight: () => to(zoom, left + move) };
    if (keys[event.key] !== undefined) { event.preventDefault(); keys[event.key](); }
  });
  for (const row of document.querySelectorAll('tbody tr')) {
    row.addEventListener('click', () => {
      const next = Math.max(zoom, 8);
      to(next, SPAN * Number(row.dataset.at) / duration - SPAN / next / 2);
      for (const other of document.querySelectorAll('tr.here')) { other.classList.remove('here'); }
      row.classList.add('here');
      view.scrollIntoView({ block: 'nearest' });
    });
  }
  draw();
})();
