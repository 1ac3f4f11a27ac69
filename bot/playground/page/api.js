// Calls of the playground's API, as in scripts.

async function answer(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error || `The playground answered ${response.status}.`);
  return body;
}

export async function get(path, query = {}) {
  const asked = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined));
  return answer(await fetch(`/playground${path}?${asked}`));
}

export async function post(path, form) {
  const body = new URLSearchParams();
  for (const [key, value] of Object.entries(form)) {
    if (value === undefined || value === null) continue;
    for (const one of Array.isArray(value) ? value : [value]) body.append(key, one);
  }
  return answer(await fetch(`/playground${path}`, { method: "POST", body }));
}

export async function upload(path, form, file) {
  const body = new FormData();
  for (const [key, value] of Object.entries(form)) body.append(key, value);
  body.append("file", file);
  return answer(await fetch(`/playground${path}`, { method: "POST", body }));
}
