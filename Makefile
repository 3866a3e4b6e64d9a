# `make` says what there is. Everything runs in .venv, which `make` builds on first use.
.DEFAULT_GOAL := help
.PHONY: help run lab class test check train evaluate bench pictures deploy-check
SHELL := bash
PYTHON ?= python3
BIN := .venv/bin
# These tests have the machine to themselves; all others run side by side, each on one thread.
ALONE := load or slow or alone
BESIDE := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4

help:
	@echo "make run        the gallery at http://127.0.0.1:7860"
	@echo "make lab        the concept pages at http://127.0.0.1:8501"
	@echo "make class      both for everyone in the room: address and QR code"
	@echo "make test       every test          make check     style, types, fast tests, reading cost"
	@echo "make train TOPIC=mc_dropout         make evaluate [TOPIC=…]"
	@echo "make deploy-check  every Space installed and started anew: ten minutes, needs a network"
	@echo "make bench      speed tables        make pictures  first answers, pictures, README table"

# A stamp per requirements file: unchanged requirements install nothing again.
.venv/run.stamp: requirements.txt
	@PYTHON="$(PYTHON)" bash scripts/install.sh requirements.txt $@
.venv/dev.stamp: requirements-dev.txt requirements.txt
	@PYTHON="$(PYTHON)" bash scripts/install.sh requirements-dev.txt $@

run: .venv/run.stamp
	@$(BIN)/python apps/gallery.py
lab: .venv/run.stamp
	@$(BIN)/streamlit run apps/lab.py
class: .venv/run.stamp
	@$(BIN)/python apps/gallery.py --class

test: .venv/dev.stamp
	@bash scripts/chromium.sh
	$(BESIDE) -m "not (browser or $(ALONE))"
	$(BESIDE) --dist loadfile -m "browser and not ($(ALONE))"
	$(BIN)/python -m pytest -m "$(ALONE)"
check: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BESIDE) -q -m "not (browser or data or $(ALONE))"
	@$(BIN)/python scripts/reading_cost.py

train: .venv/run.stamp
	@test -n "$(TOPIC)" || { echo "Say which topic: make train TOPIC=mc_dropout"; exit 2; }
	$(BIN)/python scripts/train.py $(TOPIC)
evaluate: .venv/run.stamp
	$(BIN)/python scripts/evaluate.py $(TOPIC)
bench: .venv/dev.stamp
	$(BIN)/python scripts/bench.py $(TOPIC)
pictures: .venv/dev.stamp
	$(BIN)/python scripts/pictures.py

deploy-check: .venv/dev.stamp
	VITRINE_DEPLOY=1 $(BIN)/python -m pytest tests/test_deploy.py
