/** The anywidget entry. */

import { type Model, Store } from "./model";
import { Widget } from "./widget";

interface Hosted {
  model: Model;
}

/**
 * A host calls this once per model; `initialize` and `render` may get different objects for the same model (anywidget
 * wraps it anew each time), so what joins them is this closure first and the object only where one closure has several.
 */
export default function create() {
  const stores = new Map<Model, Store>();

  function open(model: Model): Store {
    const store = new Store(model);
    stores.set(model, store);
    return store;
  }

  return {
    /** Listens from the start: what is sent before a view exists must not be lost. */
    initialize({ model }: Hosted): () => void {
      const store = open(model);
      return () => {
        stores.delete(model);
        store.close();
      };
    },

    render({ model, el }: Hosted & { el: HTMLElement }): () => void {
      const only = stores.size === 1 ? [...stores.values()][0] : undefined;
      const widget = new Widget(stores.get(model) ?? only ?? open(model));
      el.append(widget.root);
      return () => {
        widget.dispose();
        widget.root.remove();
      };
    },
  };
}
