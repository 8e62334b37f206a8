#!/bin/sh
# Rewrites every fixture in tests/golden/. HONE_PEER_PYTHON names the Python with requirements.txt installed.
set -eu
cd "$(dirname "$0")"
python="${HONE_PEER_PYTHON:-python3}"
for script in models lora adamw losses sampling sft trl-losses trl-preference safetensors_file gguf_blocks text_tokenizers text_chats parquet; do "$python" "$script.py"; done
