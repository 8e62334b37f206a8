/** Twelve databases for newcomers: eight of one table, four of two. Words are shared so that the vocabulary stays small. */
import type { CategoryColumn, Domain, NameColumn, NumberColumn } from "./domain.js";

const PEOPLE =
  "anna ben carla david emma felix grace hugo ivy jonas karin leo maria noah olga paul quinn rosa simon tina ulf vera will xenia yara zoe adam bella chris diana erik fiona".split(
    " ",
  );
const PLACES =
  "arden brook cedar delta eden fjord grove haven iris juniper kelso lark maple north oak pine quartz river stone terra upton vale willow yarrow zephyr amber birch coral".split(
    " ",
  );
const CITIES = ["paris", "rome", "oslo", "lima", "cairo"];
const COLOURS = ["red", "blue", "green", "black", "white"];
const COUNTRIES = ["france", "italy", "norway", "peru", "egypt"];

const names = (values: readonly string[], ...phrases: string[]): NameColumn => ({
  kind: "name",
  name: "name",
  phrases: ["name", ...phrases],
  values,
});
const category = (name: string, values: readonly string[], ...phrases: string[]): CategoryColumn => ({
  kind: "category",
  name,
  values,
  phrases: [name.replaceAll("_", " "), ...phrases],
});
const number = (
  name: string,
  [low, high, step]: readonly [number, number, number],
  phrases: readonly string[],
  words: Pick<NumberColumn, "above" | "below" | "most" | "least"> = {},
): NumberColumn => ({
  kind: "number",
  name,
  low,
  high,
  step,
  phrases: [name.replaceAll("_", " "), ...phrases],
  ...words,
});

const age = (low: number, high: number): NumberColumn =>
  number("age", [low, high, 1], ["years"], {
    above: ["older than"],
    below: ["younger than"],
    most: ["oldest"],
    least: ["youngest"],
  });
const price = (low: number, high: number, step: number): NumberColumn =>
  number("price", [low, high, step], ["cost"], {
    above: ["that cost more than", "pricier than"],
    below: ["that cost less than", "cheaper than"],
    most: ["most expensive"],
    least: ["cheapest"],
  });
const weight = (low: number, high: number, step: number): NumberColumn =>
  number("weight", [low, high, step], ["mass"], {
    above: ["heavier than"],
    below: ["lighter than"],
    most: ["heaviest"],
    least: ["lightest"],
  });

export const DOMAINS: readonly Domain[] = [
  {
    name: "company",
    table: {
      name: "employee",
      plurals: ["employees", "workers", "staff"],
      rows: 28,
      columns: [
        names(PEOPLE),
        category("department", ["sales", "legal", "design", "support"], "team", "division"),
        category("city", CITIES, "town"),
        number("salary", [20, 90, 1], ["pay", "wage"], { most: ["best paid"], least: ["worst paid"] }),
        age(20, 64),
      ],
    },
  },
  {
    name: "zoo",
    table: {
      name: "animal",
      plurals: ["animals", "creatures"],
      rows: 28,
      columns: [
        names(PEOPLE),
        category("species", ["lion", "zebra", "bear", "wolf", "seal"], "kind"),
        category("diet", ["meat", "plants", "fish"], "food"),
        age(1, 40),
        weight(10, 400, 5),
      ],
    },
  },
  {
    name: "garage",
    table: {
      name: "car",
      plurals: ["cars", "vehicles"],
      rows: 28,
      columns: [
        names(PLACES, "model"),
        category("maker", ["volt", "astra", "nova", "polo"], "brand"),
        category("colour", COLOURS, "paint"),
        price(5, 80, 1),
        number("top_speed", [120, 260, 5], ["speed"], {
          above: ["faster than"],
          below: ["slower than"],
          most: ["fastest"],
          least: ["slowest"],
        }),
      ],
    },
  },
  {
    name: "library",
    table: {
      name: "book",
      plurals: ["books", "volumes"],
      rows: 28,
      columns: [
        { ...names(PLACES), name: "title", phrases: ["title", "name"] },
        category("genre", ["crime", "poetry", "travel", "history"], "kind"),
        category("language", ["french", "italian", "spanish"], "tongue"),
        number("pages", [80, 900, 20], ["page count", "length"], {
          above: ["longer than"],
          below: ["shorter than"],
          most: ["longest"],
          least: ["shortest"],
        }),
        price(5, 60, 1),
      ],
    },
  },
  {
    name: "clinic",
    table: {
      name: "patient",
      plurals: ["patients", "people"],
      rows: 28,
      columns: [
        names(PEOPLE),
        category("blood_type", ["a", "b", "ab", "o"], "blood group"),
        category("ward", ["north", "south", "east"], "unit"),
        age(1, 95),
        number("visits", [1, 40, 1], ["number of visits"]),
      ],
    },
  },
  {
    name: "market",
    table: {
      name: "product",
      plurals: ["products", "goods", "items"],
      rows: 28,
      columns: [
        names(PLACES),
        category("category", ["fruit", "bread", "dairy", "drink"], "group", "kind"),
        category("origin", COUNTRIES, "country"),
        price(1, 60, 1),
        number("stock", [10, 400, 10], ["supply", "amount in stock"]),
      ],
    },
  },
  {
    name: "harbour",
    table: {
      name: "ship",
      plurals: ["ships", "boats", "vessels"],
      rows: 28,
      columns: [
        names(PLACES),
        category("flag", COUNTRIES, "country"),
        category("cargo", ["grain", "oil", "timber", "coal"], "load"),
        number("length", [40, 300, 5], ["size"], {
          above: ["longer than"],
          below: ["shorter than"],
          most: ["longest"],
          least: ["shortest"],
        }),
        number("built_year", [1960, 2020, 1], ["year of building"], {
          above: ["built after"],
          below: ["built before"],
          most: ["newest"],
          least: ["oldest"],
        }),
      ],
    },
  },
  {
    name: "kitchen",
    table: {
      name: "recipe",
      plurals: ["recipes", "dishes", "meals"],
      rows: 28,
      columns: [
        names(PLACES),
        category("cuisine", ["french", "italian", "spanish", "greek"], "style"),
        category("course", ["starter", "main", "dessert"], "part of the meal"),
        number("minutes", [5, 180, 5], ["cooking time", "time"], {
          above: ["that take longer than"],
          below: ["that take less than"],
          most: ["slowest"],
          least: ["quickest"],
        }),
        number("calories", [100, 900, 10], ["energy"]),
      ],
    },
  },
  {
    name: "school",
    table: {
      name: "student",
      plurals: ["students", "pupils"],
      rows: 28,
      columns: [
        names(PEOPLE),
        category("sport", ["tennis", "rowing", "chess", "judo"], "game"),
        age(10, 40),
        number("score", [20, 99, 1], ["mark", "result"], { most: ["best"], least: ["worst"] }),
      ],
    },
    parent: {
      table: {
        name: "teacher",
        plurals: ["teachers", "tutors"],
        rows: 8,
        columns: [
          names(PEOPLE),
          category("subject", ["art", "music", "physics", "latin"], "field"),
          number("experience", [1, 30, 1], ["years of experience"]),
        ],
      },
      key: "teacher_id",
      relation: "taught by",
    },
  },
  {
    name: "cinema",
    table: {
      name: "film",
      plurals: ["films", "movies"],
      rows: 28,
      columns: [
        { ...names(PLACES), name: "title", phrases: ["title", "name"] },
        category("genre", ["crime", "comedy", "drama", "history"], "kind"),
        number("minutes", [60, 220, 5], ["running time", "length"], {
          above: ["longer than"],
          below: ["shorter than"],
          most: ["longest"],
          least: ["shortest"],
        }),
        number("rating", [10, 99, 1], ["score"], { most: ["best"], least: ["worst"] }),
      ],
    },
    parent: {
      table: {
        name: "director",
        plurals: ["directors", "makers"],
        rows: 8,
        columns: [names(PEOPLE), category("country", COUNTRIES, "nation"), age(25, 80)],
      },
      key: "director_id",
      relation: "directed by",
    },
  },
  {
    name: "league",
    table: {
      name: "player",
      plurals: ["players", "athletes"],
      rows: 28,
      columns: [
        names(PEOPLE),
        category("position", ["keeper", "defence", "attack"], "role"),
        number("goals", [0, 60, 1], ["number of goals"]),
        number("height", [150, 210, 1], ["size"], {
          above: ["taller than"],
          below: ["shorter than"],
          most: ["tallest"],
          least: ["shortest"],
        }),
      ],
    },
    parent: {
      table: {
        name: "club",
        plurals: ["clubs", "teams"],
        rows: 8,
        columns: [
          names(PLACES),
          category("city", CITIES, "town"),
          number("founded", [1880, 2010, 1], ["year of foundation"], {
            above: ["founded after"],
            below: ["founded before"],
            most: ["newest"],
            least: ["oldest"],
          }),
        ],
      },
      key: "club_id",
      relation: "playing for",
    },
  },
  {
    name: "farm",
    table: {
      name: "field",
      plurals: ["fields", "plots"],
      rows: 28,
      columns: [
        names(PLACES),
        category("crop", ["wheat", "corn", "rice", "beans"], "plant"),
        number("area", [2, 90, 1], ["size"], {
          above: ["larger than"],
          below: ["smaller than"],
          most: ["largest"],
          least: ["smallest"],
        }),
        number("harvest", [10, 500, 5], ["yield"]),
      ],
    },
    parent: {
      table: {
        name: "farmer",
        plurals: ["farmers", "growers"],
        rows: 8,
        columns: [names(PEOPLE), category("village", ["upton", "kelso", "arden"], "town"), age(20, 80)],
      },
      key: "farmer_id",
      relation: "owned by",
    },
  },
];
