// Where services stand: whoever calls stands before whom it calls, in layers, with few crossings. Pure: names and pairs in, places out.

/** Times that the order in each layer is mended. */
const SWEEPS = 6;

/**
 * @param {string[]} nodes
 * @param {[string, string][]} edges from, to
 * @returns {{ layers: string[][], alone: string[] }} those that take part in no edge stand alone
 */
export function arrange(nodes, edges) {
  const names = [...new Set(nodes)].sort();
  const known = new Set(names);
  const pairs = edges.filter(([from, to]) => from !== to && known.has(from) && known.has(to));
  const joined = new Set(pairs.flat());
  const forward = withoutCycles(names.filter((name) => joined.has(name)), pairs);
  const layers = inLayers([...joined].sort(), forward);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const down = sweep % 2 === 0;
    for (let index = 1; index < layers.length; index += 1) {
      const at = down ? index : layers.length - 1 - index;
      mend(layers, at, forward, down);
    }
  }
  return { layers, alone: names.filter((name) => !joined.has(name)) };
}

/** The edges, with those turned round that lead back to where one came from. Without recursion: a chain may be long. */
function withoutCycles(names, pairs) {
  const next = new Map(names.map((name) => [name, []]));
  for (const [from, to] of pairs) next.get(from).push(to);
  for (const list of next.values()) list.sort();
  const called = new Set(pairs.map(([, to]) => to));
  const begun = new Set(), done = new Set(), forward = [];
  // Those that nobody calls first: they are where requests come from.
  for (const root of [...names.filter((name) => !called.has(name)), ...names]) {
    if (begun.has(root)) continue;
    begun.add(root);
    const path = [[root, 0]];
    while (path.length > 0) {
      const step = path[path.length - 1];
      const [name, position] = step;
      const to = next.get(name)[position];
      if (to === undefined) {
        done.add(name);
        path.pop();
        continue;
      }
      step[1] += 1;
      const back = begun.has(to) && !done.has(to);
      forward.push(back ? [to, name] : [name, to]);
      if (!begun.has(to)) {
        begun.add(to);
        path.push([to, 0]);
      }
    }
  }
  return forward;
}

/** Each as far down as the longest way to it is long. */
function inLayers(names, forward) {
  const depth = new Map(names.map((name) => [name, 0]));
  const waits = new Map(names.map((name) => [name, 0]));
  const next = new Map(names.map((name) => [name, []]));
  for (const [from, to] of forward) {
    next.get(from).push(to);
    waits.set(to, waits.get(to) + 1);
  }
  const free = names.filter((name) => waits.get(name) === 0);
  while (free.length > 0) {
    const name = free.shift();
    for (const to of next.get(name)) {
      depth.set(to, Math.max(depth.get(to), depth.get(name) + 1));
      waits.set(to, waits.get(to) - 1);
      if (waits.get(to) === 0) free.push(to);
    }
  }
  const layers = [];
  for (const name of names) (layers[depth.get(name)] ??= []).push(name);
  return layers.map((layer) => layer ?? []);
}

/** Orders layer `at` by where the neighbours of its members stand. */
function mend(layers, at, forward, down) {
  const places = new Map();
  for (const layer of layers) layer.forEach((name, index) => places.set(name, (index + 0.5) / layer.length));
  const depth = new Map(layers.flatMap((layer, index) => layer.map((name) => [name, index])));
  const sums = new Map(layers[at].map((name) => [name, []]));
  for (const [from, to] of forward) {
    const [own, other] = down ? [to, from] : [from, to];
    if (depth.get(own) === at) sums.get(own).push(places.get(other));
  }
  const middle = (name) => {
    const list = sums.get(name);
    return list.length === 0 ? places.get(name) : list.reduce((sum, place) => sum + place, 0) / list.length;
  };
  const middles = new Map(layers[at].map((name) => [name, middle(name)]));
  layers[at].sort((one, other) => middles.get(one) - middles.get(other) || (one < other ? -1 : 1));
}
