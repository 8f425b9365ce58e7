/** The few ways in which elements are made here. Text is only ever text: no markup is parsed anywhere. */

const SVG = "http://www.w3.org/2000/svg";

export function html<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = "",
  content = "",
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (content) node.textContent = content;
  return node;
}

/** Text that may be longer than its place: keys can scroll it. */
export function longText(className: string, content = ""): HTMLPreElement {
  const node = html("pre", className, content);
  node.tabIndex = 0;
  return node;
}

export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string | number>> = {},
): SVGElementTagNameMap[K] {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  return node;
}

/** Set an attribute where it differs: an untouched node costs no layout. */
export function attr(node: Element, name: string, value: string | number): void {
  const text = String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

export function text(node: Node, value: string): void {
  if (node.textContent !== value) node.textContent = value;
}

export function show(node: HTMLElement, visible: boolean): void {
  if (node.hidden === visible) node.hidden = !visible;
}

export function button(className: string, label: string, press: () => void): HTMLButtonElement {
  const node = html("button", className, label);
  node.type = "button";
  node.addEventListener("click", press);
  return node;
}

/** The focused element, also inside a shadow root. */
export function focused(within: Element): Element | null {
  const root = within.getRootNode();
  return root instanceof Document || root instanceof ShadowRoot ? root.activeElement : null;
}
