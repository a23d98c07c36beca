"use strict";
// Shows /openapi.json. All text goes into text nodes, so nothing in it is taken for HTML.

function element(tag, content, className) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const part of [content ?? []].flat()) made.append(part);
  return made;
}

function nameOf(reference) {
  return reference.split("/").pop();
}

// A schema as a short text, with links to the types that it names.
function typeOf(schema) {
  if (!schema) return [""];
  if (schema.$ref) {
    const link = element("a", nameOf(schema.$ref));
    link.href = "#type-" + nameOf(schema.$ref);
    return [link];
  }
  const several = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (several) return several.flatMap((one, index) => (index ? [" or ", ...typeOf(one)] : typeOf(one)));
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" or ")];
  const types = [schema.type ?? "anything"].flat();
  if (types.includes("array")) {
    const rest = types.filter((type) => type !== "array").map((type) => " or " + type);
    return ["list of ", ...typeOf(schema.items), ...rest];
  }
  return [types.join(" or ") + (schema.format ? ` (${schema.format})` : "")];
}

function table(heads, rows) {
  const head = element("thead", element("tr", heads.map((text) => element("th", text))));
  const body = element("tbody", rows.map((cells) => element("tr", cells.map((cell) => element("td", cell)))));
  return element("div", element("table", [head, body]), "scroll");
}

function contentRows(content) {
  return Object.entries(content ?? {}).flatMap(([media, { schema }], index) =>
    [index ? ", " : "", element("code", media), " ", ...typeOf(schema)]);
}

function operation(method, path, described) {
  const summary = element("summary", [
    element("span", method.toUpperCase(), "method"), " ", element("code", path), " ", described.summary ?? "",
  ]);
  const parts = [summary];
  if (described.description) parts.push(element("p", described.description));
  if (described.parameters?.length) {
    parts.push(element("h3", "Parameters"), table(["name", "in", "type", ""], described.parameters.map((one) => [
      element("code", one.name + (one.required ? "" : "?")), one.in, typeOf(one.schema), one.description ?? "",
    ])));
  }
  if (described.requestBody) {
    parts.push(element("h3", "Body"), element("p", contentRows(described.requestBody.content)));
  }
  parts.push(element("h3", "Answers"), table(["status", "", "content"], Object.entries(described.responses).map(
    ([status, answer]) => [element("code", status), answer.description ?? "", contentRows(answer.content)])));
  return element("details", parts);
}

function schema(name, described) {
  const rows = Object.entries(described.properties ?? {}).map(([key, value]) => [
    element("code", key + (described.required?.includes(key) ? "" : "?")), typeOf(value), value.description ?? "",
  ]);
  const parts = [element("summary", element("code", name))];
  if (described.description) parts.push(element("p", described.description));
  parts.push(rows.length ? table(["name", "type", ""], rows) : element("p", typeOf(described)));
  const made = element("details", parts);
  made.id = "type-" + name;
  return made;
}

async function show() {
  const operations = document.getElementById("operations");
  try {
    const answer = await fetch("/openapi.json");
    if (!answer.ok) throw new Error(`The server answers ${answer.status}.`);
    const api = await answer.json();
    document.getElementById("title").textContent = `${api.info.title} ${api.info.version}`;
    document.getElementById("description").textContent = api.info.description ?? "";
    operations.replaceChildren(...Object.entries(api.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, described]) => operation(method, path, described))));
    document.getElementById("schemas").replaceChildren(
      ...Object.entries(api.components?.schemas ?? {}).map(([name, described]) => schema(name, described)));
  } catch (error) {
    operations.replaceChildren(element("p", `The description cannot be shown: ${error.message}`));
  }
}

// A link to a type opens it.
window.addEventListener("hashchange", () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
});

show();
