"""The README.md of a run as the Hugging Face Hub reads it: written from the card and config.json alone."""

import json

from core.card import Card
from core.store import Run


def text(card: Card, run: Run) -> str:
    """The model card of one run, as it lies beside the weights: Markdown with the Hub's front matter."""
    front = f"license: apache-2.0\nlibrary_name: vitrine\ntags: [{', '.join(tags(card))}]"
    return f"---\n{front}\n---\n\n{body(card, run)}"


def tags(card: Card) -> list[str]:
    """What the Hub's search finds it by."""
    return ["vitrine", card.slug.replace("_", "-"), "teaching"]


def for_hub(card: Card, run: Run, *, repository: str, picture: str) -> str:
    """The model card as the Hub gets it: with all scores as its leaderboards read them, a picture, and how to load it.

    repository  "owner/name"
    picture     name of the picture's file beside it
    """
    from huggingface_hub import EvalResult, ModelCardData, hf_hub_url

    labels = {score.key: score.label for score in card.scores if score.run == run.name}
    first = run.config["data"][0]
    front = ModelCardData(
        license="apache-2.0",
        library_name="vitrine",
        pipeline_tag=card.task,
        tags=tags(card),
        model_name=run.name,
        thumbnail=hf_hub_url(repository, picture),
        eval_results=[
            EvalResult(
                task_type=card.task,
                dataset_type=first["name"],
                dataset_name=first["title"],
                metric_type=key,
                metric_name=labels.get(key, key),
                metric_value=float(f"{entry['stored']:.6g}"),
            )
            for key, entry in run.config["scores"].items()
        ],
    )
    seen, _, rest = body(card, run).partition("\n- weights: ")
    use = f"""![An answer of the topic's page]({picture})

The page, the code that trained them and the measurements are Vitrine's. With the project at hand:

```
VITRINE_WEIGHTS=hub:{repository}@<commit> make {"lab" if card.surface == "lab" else "run"}
```

"""
    return f"---\n{front.to_yaml()}\n---\n\n{seen}\n{use}- weights: {rest}"


def body(card: Card, run: Run) -> str:
    """What the model card says; every figure is one of config.json's."""
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
    kept = f"those of {config['uses']}" if "uses" in config else kept
    again = f", and the first measured again by `{card.command}`" if run.repeatable else ""
    return f"""# {run.name}

{card.question} {card.claim}

- weights: {kept}
- network: `{json.dumps(config["network"])}`
- classes: {", ".join(config["classes"])}
- input: `{json.dumps(config["preprocessing"])}`
- recipe: `{json.dumps(config["recipe"])}`

## Scores

On data held out, unless the list of data says otherwise: mean and standard deviation over runs.
Trained by `{config["measured"]["command"]}` at commit {config["measured"]["commit"]}{again}.

| score | mean | spread | runs | first run |
| --- | --- | --- | --- | --- |
{rows}

## Data

{data}

## Where it is weak

{limits}

## Read

{papers}
"""
