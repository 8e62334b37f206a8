"""Writes tests/golden/spider.json: what Spider's own evaluation says of deliberately imperfect predictions.

Run: python tools/golden/spider.py SCRIPTS SPIDER [SEED [FILE]]   (needs nltk and sqlparse)

SCRIPTS is a checkout of taoyds/test-suite-sql-eval (evaluation.py, exec_eval.py, process_sql.py, parse.py), SPIDER a
writable copy of Spider with dev.json, tables.json and database/: the scripts open databases for writing. Neither is
part of this project. Predictions are gold queries after one to three random changes. The file holds no text of Spider:
a prediction is a list of pieces, each a span of a gold query, the number of a column or a table, or plain SQL words.
"""

import functools
import json
import random
import re
import sqlite3
import sys
import time
from pathlib import Path

import nltk

# The same words without nltk's data for splitting sentences, of which SQL has none.
nltk.word_tokenize = functools.partial(nltk.word_tokenize, preserve_line=True)
SCRIPTS, SPIDER = Path(sys.argv[1]), Path(sys.argv[2])
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else 1
sys.path.insert(0, str(SCRIPTS))
import evaluation  # noqa: E402
import exec_eval  # noqa: E402
from process_sql import Schema, get_schema, get_sql  # noqa: E402

COMPONENTS = ["select", "select(no AGG)", "where", "where(no OP)", "group(no Having)"]
COMPONENTS += ["group", "order", "and/or", "IUEN", "keywords"]
AGGREGATES = ["max", "min", "count", "sum", "avg"]
COMPARISONS = ["=", "!=", ">", "<", ">=", "<=", "<>", "> =", "LIKE", "NOT LIKE", "IN"]
CLAUSES = ["where", "group", "having", "order", "limit", "intersect", "union", "except"]
SECONDS = 20
TOKEN = re.compile(r"'[^']*'|\"[^\"]*\"|\d+(?:\.\d+)?|\w+|!=|>=|<=|<>|\S")


def deadline_connect(connect):
    """Queries that mutations made endless fail, as the script's own timeout cannot make them."""

    def opened(*args, **kwargs):
        connection = connect(*args, **kwargs)
        end = time.monotonic() + SECONDS
        connection.set_progress_handler(lambda: time.monotonic() > end, 100_000)
        return connection

    return opened


class SqliteWithDeadline:
    def __init__(self):
        self.connect = deadline_connect(sqlite3.connect)

    def __getattr__(self, name):
        return getattr(sqlite3, name)


exec_eval.sqlite3 = SqliteWithDeadline()

dev = json.loads((SPIDER / "dev.json").read_text())
entries = {entry["db_id"]: entry for entry in json.loads((SPIDER / "tables.json").read_text())}
of_database = {}
for number, row in enumerate(dev):
    of_database.setdefault(row["db_id"], []).append(number)


class Prediction:
    """Pieces with the text of each. A piece is (example, start, end), {"column": n}, {"table": n} or words."""

    def __init__(self, example):
        sql = dev[example]["query"]
        self.entry = entries[dev[example]["db_id"]]
        self.pieces, self.texts = [], []
        for match in TOKEN.finditer(sql):
            self.pieces.append((example, match.start(), match.end()))
            self.texts.append(match.group())

    def words(self):
        return [text.lower() for text in self.texts]

    def put(self, start, end, *new):
        """Replaces tokens start to end by words, or by ("column" | "table", number), or by another's pieces."""
        pieces, texts = [], []
        for one in new:
            if isinstance(one, Prediction):
                pieces += one.pieces
                texts += one.texts
                continue
            if isinstance(one, tuple):
                kind, index = one
                name = self.entry[f"{kind}_names_original"][index]
                pieces.append({kind: index})
                texts.append(name[1] if kind == "column" else name)
                continue
            pieces.append(one)
            texts.append(one)
        self.pieces[start:end] = pieces
        self.texts[start:end] = texts

    def move(self, order):
        self.pieces = [self.pieces[i] for i in order]
        self.texts = [self.texts[i] for i in order]

    def end_of_clause(self, start):
        """The next token at the same depth that begins another clause, or closes the query."""
        depth = 0
        words = self.words()
        for i in range(start, len(words)):
            depth += {"(": 1, ")": -1}.get(words[i], 0)
            if depth < 0 or (depth == 0 and (words[i] in CLAUSES or words[i] == ";")):
                return i
        return len(words)

    def places(self, *wanted):
        return [i for i, word in enumerate(self.words()) if word in wanted]

    def merged(self):
        """Neighbours of one query as one piece, with what stands between them there."""
        pieces, texts = [], []
        for piece, text in zip(self.pieces, self.texts):
            last = pieces[-1] if pieces else None
            if isinstance(piece, tuple) and isinstance(last, tuple) and last[0] == piece[0]:
                query = dev[piece[0]]["query"]
                if last[2] <= piece[1] and query[last[2] : piece[1]].strip() == "":
                    pieces[-1] = (piece[0], last[1], piece[2])
                    texts[-1] = query[last[1] : piece[2]]
                    continue
            pieces.append(piece)
            texts.append(text)
        return pieces, texts

    def sql(self):
        return joined(self.merged()[1])

    def stored(self, example):
        """Pieces as the file holds them; spans of the example itself without its number."""
        return [
            (list(piece[1:]) if piece[0] == example else list(piece)) if isinstance(piece, tuple) else piece
            for piece in self.merged()[0]
        ]


def joined(texts):
    """By spaces, but for those around a dot and between a function and its parenthesis."""
    sql = ""
    for text in texts:
        is_glued = sql.endswith(".") or text.startswith(".")
        is_glued |= re.search(r"(?:max|min|count|sum|avg)$", sql, re.I) is not None and text.startswith("(")
        sql += text if sql == "" or is_glued else f" {text}"
    return sql


def columns_of(entry):
    return {name.lower(): i for i, (table, name) in enumerate(entry["column_names_original"]) if table >= 0}


def change_column(p, r):
    columns = columns_of(p.entry)
    at = r.choice(p.places(*columns))
    table = p.entry["column_names_original"][columns[p.words()[at]]][0]
    near = [i for i, (owner, _) in enumerate(p.entry["column_names_original"]) if owner == table]
    far = range(1, len(p.entry["column_names_original"]))
    p.put(at, at + 1, ("column", r.choice(near if r.random() < 0.7 else far)))


def change_table(p, r):
    tables = [name.lower() for name in p.entry["table_names_original"]]
    at = r.choice([i for i in p.places(*tables) if p.words()[i - 1] in ("from", "join")])
    p.put(at, at + 1, ("table", r.randrange(len(tables))))


def drop_clause(p, r):
    at = r.choice(p.places(*CLAUSES))
    p.put(at, p.end_of_clause(at + 1))


def drop_condition(p, r):
    at = r.choice(p.places("and", "or"))
    words = p.words()
    depth, end = 0, at + 1
    while end < len(words):
        depth += {"(": 1, ")": -1}.get(words[end], 0)
        if depth < 0 or (depth == 0 and words[end] in (*CLAUSES, "and", "or", ";")):
            break
        end += 1
    p.put(at, end)


def add_condition(p, r):
    columns = columns_of(p.entry)
    at = r.choice(p.places("where"))
    column = ("column", r.choice(list(columns.values())))
    value = r.choice(["1", "'a'", "2.5", '"b"'])
    p.put(at + 1, at + 1, column, r.choice(COMPARISONS[:6]), value, r.choice(["AND", "OR"]))


def add_clause(p, r):
    used = p.places(*columns_of(p.entry))
    column = ("column", columns_of(p.entry)[p.words()[r.choice(used)]])
    clause = r.choice(
        [
            ("WHERE", column, "IS", "NULL"),
            ("WHERE", column, "IS", "NOT", "NULL"),
            ("WHERE", column, r.choice(COMPARISONS[:6]), r.choice(["0", "'x'"])),
            ("WHERE", column, "=", column, r.choice(["AND", "OR"]), column, ">", "1"),
            ("GROUP", "BY", column),
            ("GROUP", "BY", column, "HAVING", "count", "(", "*", ")", ">", "1"),
            ("ORDER", "BY", column, r.choice(["ASC", "DESC"])),
            ("ORDER", "BY", column, "DESC", ",", column, "ASC", "LIMIT", "3"),
            ("LIMIT", "3"),
            ("LIMIT", "3", "OFFSET", "1"),
        ]
    )
    # Before the first clause of the outer query that SQL puts behind it; once in ten times where SQL does not want it.
    rank = CLAUSES.index(clause[0].lower())
    at = p.end_of_clause(1)
    while r.random() < 0.9 and at < len(p.texts) and p.words()[at] in CLAUSES[: rank + 1]:
        if CLAUSES.index(p.words()[at]) == rank:
            raise ValueError("it has one")
        at = p.end_of_clause(at + 1)
    p.put(at, at, *clause)


def change_aggregate(p, r):
    at = r.choice(p.places(*AGGREGATES))
    if r.random() < 0.2 and p.words()[at + 1] == "(":
        p.put(at, at + 1)
    else:
        p.put(at, at + 1, r.choice(AGGREGATES))


def change_direction(p, r):
    at = r.choice(p.places("asc", "desc"))
    p.put(at, at + 1, *r.choice([(), ("ASC",), ("DESC",)]))


def change_comparison(p, r):
    at = r.choice(p.places("=", "!=", ">", "<", ">=", "<=", "<>", "like", "in", "between"))
    p.put(at, at + 1, r.choice(COMPARISONS))


def change_not(p, r):
    words = p.words()
    at = r.choice(p.places("not", "in", "like", "between", "exists"))
    if words[at] == "not":
        p.put(at, at + 1)
    elif words[at - 1] != "not":
        p.put(at, at, "NOT")


def change_value(p, r):
    at = r.choice([i for i, word in enumerate(p.words()) if word[0] in "'\"" or word[0].isdigit()])
    p.put(at, at + 1, r.choice(["1", "0", "7", "-3", "'a'", '"b"', "'%a%'", "NULL"]))


def change_join_word(p, r):
    at = r.choice(p.places("and", "or"))
    p.put(at, at + 1, r.choice(["AND", "OR"]))


def change_distinct(p, r):
    found = p.places("distinct")
    if found:
        at = r.choice(found)
        p.put(at, at + 1)
    else:
        at = r.choice([i for i in p.places("select", *AGGREGATES)])
        at += 2 if p.words()[at] in AGGREGATES and p.words()[at + 1] == "(" else 1
        p.put(at, at, "DISTINCT")


def change_set_operator(p, r):
    found = p.places("union", "intersect", "except")
    if found:
        at = r.choice(found)
        p.put(at, at + 1, *r.choice([("UNION",), ("INTERSECT",), ("EXCEPT",), ("UNION", "ALL")]))
    else:
        other = Prediction(r.choice(of_database[p.entry["db_id"]]))
        if p.texts[-1] == ";" and r.random() < 0.9:
            p.put(len(p.texts) - 1, len(p.texts))
        p.put(len(p.texts), len(p.texts), r.choice(["UNION", "INTERSECT", "EXCEPT"]), other)


def change_selected(p, r):
    """Turns, drops or repeats the items of the first SELECT."""
    words = p.words()
    first = 2 if words[1] == "distinct" else 1
    end = words.index("from")
    commas = [first - 1, *(i for i in range(first, end) if words[i] == "," and "(" not in words[i:end]), end]
    items = [list(range(a + 1, b)) for a, b in zip(commas, commas[1:])]
    comma = [commas[1]] if len(items) > 1 else []
    if len(items) == 1:
        p.put(end, end, ",", r.choice(["count", "max"]), "(", "*", ")")
        return
    chosen = r.choice(["turn", "drop", "repeat"])
    items = items[::-1] if chosen == "turn" else items[1:] if chosen == "drop" else [*items, items[0]]
    order = [i for item in items for i in [*item, *comma]][: -len(comma)]
    p.move([*range(first), *order, *range(end, len(words))])


def turn_tables(p, r):
    """a AS T1 JOIN b AS T2 to b AS T2 JOIN a AS T1, or another pair of columns to join on."""
    words = p.words()
    at = r.choice(p.places("join"))
    if words[at - 2] == "as" and words[at + 2] == "as" and words[at - 4] in ("from", "join"):
        p.move([*range(at - 3), *range(at + 1, at + 4), at, *range(at - 3, at), *range(at + 4, len(words))])
    else:
        p.put(at, at, r.choice(["LEFT", "INNER"]))


def drop_join(p, r):
    at = r.choice(p.places("join"))
    words = p.words()
    end = at + 1
    while end < len(words) and words[end] not in (*CLAUSES, "join", ")", ";"):
        end += 1
    p.put(at, end)


def other_answer(p, r):
    other = Prediction(r.choice(of_database[p.entry["db_id"]]))
    p.put(0, len(p.texts), other)


def nested_value(p, r):
    other = Prediction(r.choice(of_database[p.entry["db_id"]]))
    if other.texts[-1] == ";":
        other.put(len(other.texts) - 1, len(other.texts))
    at = r.choice(p.places("=", ">", "<", ">=", "<=", "!=", "in"))
    p.put(at + 1, at + (4 if "." in p.words()[at + 2 : at + 3] else 2), "(", other, ")")


def change_spelling(p, r):
    """Still the same SQL, or nearly."""
    words = p.words()
    choice = r.randrange(5)
    if choice == 0:
        p.put(len(words), len(words), ";")
    elif choice == 1:
        at = r.choice(p.places("as"))
        p.put(at, at + 1)
    elif choice == 2:
        p.put(0, 0, "(")
        p.put(len(words) + 1, len(words) + 1, ")")
    elif choice == 3:
        at = r.choice(p.places("join"))
        p.put(at, at, r.choice(["LEFT", "INNER", "LEFT OUTER"]))
    else:
        at = words.index("from")
        p.put(at, at, "AS", "total")


def break_syntax(p, r):
    at = r.randrange(1, len(p.texts))
    choice = r.randrange(5)
    if choice == 0:
        p.put(at, at + 1)
    elif choice == 1:
        p.put(at, len(p.texts))
    elif choice == 2:
        p.put(at, at, r.choice(["FROM", ",", "(", ")", "WHERE", "AND", "1", "'", "AS", "BY", "SELECT"]))
    elif choice == 3:
        p.put(at, at + 1, r.choice(["nothing", "T1", "T9", "*", "value"]))
    else:
        p.move([*range(at), *range(at + 1, len(p.texts)), at])


MUTATIONS = [
    *[change_column, change_column, change_table, drop_clause, drop_clause, drop_condition, add_condition],
    *[add_clause, add_clause, change_aggregate, change_aggregate, change_direction, change_comparison, change_not],
    *[change_value, change_value, change_join_word, change_distinct, change_distinct, change_set_operator],
    *[change_selected, change_selected, turn_tables, drop_join, other_answer, nested_value, change_spelling],
    break_syntax,
]


def predict(example, r):
    prediction = Prediction(example)
    done = []
    wanted = r.choice([1, 1, 1, 2, 2, 3])
    for _ in range(200):
        if len(done) == wanted:
            break
        mutation = r.choice(MUTATIONS)
        before = list(prediction.pieces), list(prediction.texts)
        try:
            mutation(prediction, r)
        except (IndexError, ValueError, KeyError):  # nothing there that it could change
            prediction.pieces, prediction.texts = before
            continue
        if prediction.texts != before[1]:
            done.append(mutation.__name__)
    return prediction, done


EMPTY = {"except": None, "from": {"conds": [], "table_units": []}, "groupBy": [], "having": [], "intersect": None}
EMPTY |= {"limit": None, "orderBy": [], "select": [False, []], "union": None, "where": []}


def verdict(gold, predicted, database, keys):
    """As `evaluate` of evaluation.py goes about one example, with its DISTINCT kept and removed."""
    path = str(SPIDER / "database" / database / f"{database}.sqlite")
    schema = Schema(get_schema(path))
    gold_sql = get_sql(schema, gold)
    hardness = evaluation.Evaluator().eval_hardness(gold_sql)
    predicted = predicted.replace(" value ", " 1 ")
    is_parsed = True
    try:
        predicted_sql = get_sql(schema, predicted)
    except Exception:
        is_parsed = False
        predicted_sql = json.loads(json.dumps(EMPTY))

    def rebuilt(sql):
        units = evaluation.build_valid_col_units(sql["from"]["table_units"], schema)
        return evaluation.rebuild_sql_col(units, evaluation.rebuild_sql_val(sql), keys)

    evaluator = evaluation.Evaluator()
    try:
        exact = evaluator.eval_exact_match(rebuilt(predicted_sql), rebuilt(gold_sql))
        scores = evaluator.partial_scores
    except (TypeError, ValueError):  # such as two nested queries in FROM, which cannot be sorted: the script ends here
        return None
    executed = [
        exec_eval.eval_exec_match(
            db=path,
            p_str=predicted,
            g_str=gold,
            plug_value=False,
            keep_distinct=keep,
            progress_bar_for_each_datapoint=False,
        )
        for keep in (True, False)
    ]
    return {
        "hardness": hardness,
        "isParsed": is_parsed,
        "exact": int(exact),
        "executed": executed,
        "components": " ".join(
            f"{scores[name]['f1']:.0f}{scores[name]['pred_total']}/{scores[name]['label_total']}" for name in COMPONENTS
        ),
    }


def main():
    keys = evaluation.build_foreign_key_map_from_json(SPIDER / "tables.json")
    r = random.Random(SEED)
    rows = []
    for example, row in enumerate(dev):
        prediction, changes = predict(example, r)
        found = verdict(row["query"], prediction.sql(), row["db_id"], keys[row["db_id"]])
        if found is None:
            continue
        rows.append({"example": example, "pieces": prediction.stored(example), "changes": changes, **found})
    path = Path(__file__).resolve().parents[2] / "tests" / "golden" / "spider.json"
    if len(sys.argv) > 4:
        path = Path(sys.argv[4])
    path.write_text("[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]\n")
    print(f"{len(rows)} predictions, {sum(row['exact'] for row in rows)} exact matches")
    print(f"executed alike: {sum(row['executed'][0] for row in rows)} with DISTINCT kept,")
    print(f"{sum(row['executed'][1] for row in rows)} with it removed")


main()
