import { useCallback, useRef, useState } from "react";

const SHOWN_MS = 6_000;

/**
 * @typedef {{nr: number, text: string}} Toast
 * @returns {[Toast[], (text: string) => void, (nr: number) => void]} toasts, show, hide
 */
export function useToasts() {
  const [toasts, setToasts] = useState(/** @type {Toast[]} */ ([]));
  const last = useRef(0);
  const hide = useCallback((/** @type {number} */ nr) => setToasts((all) => all.filter((each) => each.nr !== nr)), []);
  const show = useCallback((/** @type {string} */ text) => {
    const nr = ++last.current;
    setToasts((all) => [...all.slice(-2), { nr, text }]);
    setTimeout(() => hide(nr), SHOWN_MS);
  }, [hide]);
  return [toasts, show, hide];
}

/** @param {{toasts: Toast[], hide: (nr: number) => void}} props */
export function Toasts({ toasts, hide }) {
  return (
    <div className="toasts" role="status" aria-live="polite">
      {toasts.map(({ nr, text }) => (
        <p key={nr} className="toast">
          {text}
          <button type="button" aria-label="Close" onClick={() => hide(nr)}>×</button>
        </p>
      ))}
    </div>
  );
}
