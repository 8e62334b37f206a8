"""Small Parquet files by pyarrow, with the rows they hold as JSON: what Hone's reader must give.

    python tools/golden/parquet.py
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

folder = Path(__file__).parents[2] / "tests/golden/parquet"
folder.mkdir(exist_ok=True)
rows = []
for i in range(25):
    turns = [{"role": "user", "content": f"Question {i}: ünï 😀?"}]
    row = {
        "prompt": turns,
        "chosen": [{"role": "assistant", "content": f"Answer {i}. " + "good " * (i % 4)}],
        "rejected": [{"role": "assistant", "content": "" if i % 10 == 3 else f"No {i}"}],
        "margin": None if i % 5 == 2 else i / 8,
        "id": i * 2**33,
        "tags": None if i % 7 == 6 else ["a", "b"][: i % 3],
        "checked": i % 2 == 0,
    }
    rows.append(row)

message = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
schema = pa.schema(
    [("prompt", message), ("chosen", message), ("rejected", message), ("margin", pa.float64()), ("id", pa.int64())]
    + [("tags", pa.list_(pa.string())), ("checked", pa.bool_())]
)
table = pa.Table.from_pylist(rows, schema=schema)
for codec in ["snappy", "gzip", "zstd", "brotli", "none", "lz4"]:
    pq.write_table(table, folder / f"pairs-{codec}.parquet", compression=codec, row_group_size=10)
pq.write_table(table, folder / "pairs-v2.parquet", version="2.6", data_page_version="2.0", use_dictionary=False)
pq.write_table(table.slice(0, 0), folder / "empty.parquet")
(folder / "pairs.json").write_text(json.dumps(rows, ensure_ascii=False, indent=0))
