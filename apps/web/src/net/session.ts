/** The signed-in person's token. Kept for the tab; for all tabs when “keep me signed in” was ticked. Never in an address. */
const KEY = 'picturelock.token';

type Listener = () => void;
const listeners = new Set<Listener>();

function read(): string | null {
  try {
    return sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);
  } catch {
    return memory; // storage is blocked: the session lasts until the page is left
  }
}

let memory: string | null = null;
let token: string | null = read();

export const session = {
  token: () => token,
  begin(next: string, keep: boolean) {
    memory = token = next;
    try {
      (keep ? localStorage : sessionStorage).setItem(KEY, next);
    } catch {
      // kept in memory
    }
    listeners.forEach((listener) => listener());
  },
  end() {
    if (token === null) return;
    memory = token = null;
    try {
      sessionStorage.removeItem(KEY);
      localStorage.removeItem(KEY);
    } catch {
      // nothing was stored
    }
    listeners.forEach((listener) => listener());
  },
  subscribe(listener: Listener) {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  },
};
