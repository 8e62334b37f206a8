/**
 * Writes 1,500 questions about small tables with their SQL, so that a first run needs no download.
 * usage: node make-data.mjs FILE
 */
import { writeFileSync } from "node:fs";

const TABLES = {
  singers: { one: "singer", numbers: ["age", "albums", "salary"], words: ["country", "genre"] },
  ships: { one: "ship", numbers: ["length", "crew", "speed"], words: ["flag", "class"] },
  cities: { one: "city", numbers: ["population", "area", "altitude"], words: ["state", "climate"] },
  books: { one: "book", numbers: ["pages", "price", "year"], words: ["author", "language"] },
  players: { one: "player", numbers: ["height", "goals", "rank"], words: ["team", "position"] },
};

const rows = [];
const row = (question, sql) => rows.push({ prompt: `Question: ${question}\nSQL: `, completion: sql });
for (const [table, { one, numbers, words }] of Object.entries(TABLES)) {
  for (const number of numbers) {
    row(`What is the average ${number} of all ${table}?`, `SELECT avg(${number}) FROM ${table}`);
    row(`Which ${one} has the largest ${number}?`, `SELECT name FROM ${table} ORDER BY ${number} DESC LIMIT 1`);
    row(`List the names of all ${table} by ${number}.`, `SELECT name FROM ${table} ORDER BY ${number}`);
    for (const word of words) {
      row(`Show each ${word} with its average ${number} of ${table}.`, `SELECT ${word}, avg(${number}) FROM ${table} GROUP BY ${word}`);
    }
    for (let limit = 3; limit < 48; limit++) {
      row(`How many ${table} have a ${number} above ${limit}?`, `SELECT count(*) FROM ${table} WHERE ${number} > ${limit}`);
      row(`Name the ${table} whose ${number} is below ${limit}.`, `SELECT name FROM ${table} WHERE ${number} < ${limit}`);
    }
  }
  for (const word of words) row(`How many ${table} are there in each ${word}?`, `SELECT ${word}, count(*) FROM ${table} GROUP BY ${word}`);
}
writeFileSync(process.argv[2], `${rows.map((value) => JSON.stringify(value)).join("\n")}\n`);
console.log(`${rows.length} rows in ${process.argv[2]}`);
