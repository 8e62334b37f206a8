/** Dates as Python's `strftime` writes them in the C locale, in local time. */

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];

/** @throws Error for a directive that is not supported, because a guess would end up in training data */
export function pythonStrftime(date: Date, format: string): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const hour12 = date.getHours() % 12 === 0 ? 12 : date.getHours() % 12;
  const startOfYear = Date.UTC(date.getFullYear(), 0, 0);
  const today = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  const directives: Readonly<Record<string, string>> = {
    Y: String(date.getFullYear()),
    y: two(date.getFullYear() % 100),
    m: two(date.getMonth() + 1),
    d: two(date.getDate()),
    e: String(date.getDate()).padStart(2, " "),
    "-d": String(date.getDate()),
    b: MONTHS[date.getMonth()]!.slice(0, 3),
    B: MONTHS[date.getMonth()]!,
    a: DAYS[date.getDay()]!.slice(0, 3),
    A: DAYS[date.getDay()]!,
    H: two(date.getHours()),
    I: two(hour12),
    M: two(date.getMinutes()),
    S: two(date.getSeconds()),
    p: date.getHours() < 12 ? "AM" : "PM",
    j: String((today - startOfYear) / 86_400_000).padStart(3, "0"),
    "%": "%",
  };
  return format.replace(/%(-?.)/gs, (directive, name: string) => {
    const text = directives[name];
    if (text === undefined) throw new Error(`strftime_now does not know ${JSON.stringify(directive)}`);
    return text;
  });
}
