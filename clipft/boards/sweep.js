// What one run says of its N test images at A alphas, as runs/sweep.py has it; and what of that is
// asked of some of the images alone.
class Sweep {
  constructor({arrays, ...about}) {
    Object.assign(this, about);
    this.alphas = arrays.alphas;
    this.ids = new TextDecoder().decode(arrays.ids).split("\0");
    this.split = arrays.split;
    this.label = arrays.label;
    this.gap = arrays.gap ?? null;
    this.count = this.label.length;
    this.predictions = arrays.prediction;
    // Told in 65535 steps: half the bytes, of which a saved page has few.
    this.confidences = Float32Array.from(arrays.confidence, (steps) => steps / 65535);
  }

  name(label) {
    return this.classes[label] ?? `class ${label}`;
  }

  prediction(place) {
    return this.predictions.subarray(place * this.count, (place + 1) * this.count);
  }

  confidence(place) {
    return this.confidences.subarray(place * this.count, (place + 1) * this.count);
  }

  // The scored alpha that is nearest; of two the lower one, as in Python.
  nearest(alpha) {
    let best = 0;
    for (let i = 1; i < this.alphas.length; i++) {
      if (Math.abs(this.alphas[i] - alpha) < Math.abs(this.alphas[best] - alpha)) best = i;
    }
    return best;
  }

  get rowOf() {
    if (!this.places) {
      this.places = new Map();
      // Backwards, so that of an image in two splits the first row stands.
      for (let row = this.count - 1; row >= 0; row--) this.places.set(this.ids[row], row);
    }
    return this.places;
  }

  get everyRow() {
    return (this.all ??= Uint32Array.from(this.label, (_, row) => row));
  }

  // Rows of each split, of these.
  bySplit(rows) {
    const found = this.splits.map(() => []);
    for (const row of rows) found[this.split[row]].push(row);
    return found;
  }

  // The share of these images that is right; not a number of none.
  accuracy(place, rows) {
    const prediction = this.prediction(place);
    let right = 0;
    for (const row of rows) right += prediction[row] === this.label[row];
    return right / rows.length;
  }

  // The value at alpha of what is known at each scored one, on the line between the two beside it.
  between(values, alpha) {
    return between([...this.alphas], values, alpha, false);
  }

  // Which of these images change their class between two alphas, the nearest scored ones.
  flips(alpha, against, rows) {
    const now = this.prediction(this.nearest(alpha));
    const then = this.prediction(this.nearest(against));
    const all = [...rows].filter((row) => now[row] !== then[row]);
    return {
      all,
      gained: all.filter((row) => now[row] === this.label[row]),
      lost: all.filter((row) => then[row] === this.label[row]),
    };
  }

  // For each class of these images: how many, right before and here, mean gap.
  byClass(alpha, rows) {
    const start = this.prediction(0);
    const here = this.prediction(this.nearest(alpha));
    const found = new Map();
    for (const row of rows) {
      const label = this.label[row];
      if (!found.has(label)) found.set(label, {label, images: 0, before: 0, now: 0, gap: 0});
      const sums = found.get(label);
      sums.images += 1;
      sums.before += start[row] === label;
      sums.now += here[row] === label;
      sums.gap += this.gap ? this.gap[row] : NaN;
    }
    return [...found.values()].map(({label, images, before, now, gap}) => ({
      label, images, name: this.name(label), before: before / images, now: now / images,
      change: (now - before) / images, gap: gap / images,
    }));
  }

  // Each pair (class, taken for) of these images: how often before, and here.
  confusions(alpha, rows) {
    const start = this.prediction(0);
    const here = this.prediction(this.nearest(alpha));
    const found = new Map();
    const count = (label, taken, when) => {
      if (label === taken) return;
      const key = `${label} ${taken}`;
      if (!found.has(key)) found.set(key, {label, taken, before: 0, now: 0});
      found.get(key)[when] += 1;
    };
    for (const row of rows) {
      count(this.label[row], start[row], "before");
      count(this.label[row], here[row], "now");
    }
    return [...found.values()].map((pair) => ({
      ...pair, name: this.name(pair.label), takenFor: this.name(pair.taken), change: pair.now - pair.before,
    }));
  }

  // The reliability diagram of these images: of each bin mean confidence, accuracy, images.
  reliability(place, rows, bins) {
    const confidence = this.confidence(place);
    const prediction = this.prediction(place);
    const sums = Array.from({length: bins}, () => ({confidence: 0, right: 0, images: 0}));
    for (const row of rows) {
      const bin = sums[Math.min(bins - 1, Math.floor(confidence[row] * bins))];
      bin.confidence += confidence[row];
      bin.right += prediction[row] === this.label[row];
      bin.images += 1;
    }
    return sums.map(({confidence: sum, right, images}) =>
      ({confidence: images ? sum / images : null, accuracy: images ? right / images : null, images}));
  }

  // Expected calibration error: the bins' gaps, each with the weight of its images.
  ece(place, rows, bins = 15) {
    let error = 0;
    for (const bin of this.reliability(place, rows, bins)) {
      if (bin.images) error += bin.images * Math.abs(bin.accuracy - bin.confidence);
    }
    return error / rows.length;
  }
}
