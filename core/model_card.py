"""The README.md of a run as the Hugging Face Hub reads it: written from the card and config.json alone."""

import json

from core.card import Card
from core.store import Run


def text(card: Card, run: Run) -> str:
    """The model card of one run.

    returns Markdown with the Hub's front matter; every figure is one of config.json's
    """
    config = run.config
    rows = "\n".join(
        f"| {key} | {entry['mean']:.5g} | {entry['spread']:.2g} | {entry['runs']} | {entry['stored']:.5g} |"
        for key, entry in config["scores"].items()
    )
    data = "\n".join(
        f"- {source['title']} ({source['origin']}), licence {source['licence']}: {source['use']}"
        for source in config["data"]
    )
    limits = "\n".join(f"- {limit}" for limit in card.limits)
    papers = "\n".join(f"- {paper.authors} {paper.year}: [{paper.title}]({paper.url})" for paper in card.papers)
    kept = f"{run.megabytes:.2f} MB, fp16" if run.megabytes else "not kept; this run feeds a table"
    return f"""---
license: apache-2.0
library_name: vitrine
tags: [vitrine, {card.slug.replace("_", "-")}, teaching]
---

# {run.name}

{card.question} {card.claim}

- weights: {kept}
- network: `{json.dumps(config["network"])}`
- classes: {", ".join(config["classes"])}
- input: `{json.dumps(config["preprocessing"])}`
- recipe: `{json.dumps(config["recipe"])}`

## Scores

Held-out data, mean and standard deviation over training runs, and the weights that are stored here.
Trained by `{config["measured"]["command"]}` at commit {config["measured"]["commit"]}; the stored weights are
measured again by `{card.command}`.

| score | mean | spread | runs | these weights |
| --- | --- | --- | --- | --- |
{rows}

## Data

{data}

## Where it is weak

{limits}

## Read

{papers}
"""
