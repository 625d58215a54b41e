"""Sixty steps beside a plain transformers loop: same weights, same batches, no dropout, fp32 (METHODS 3.1, 3.3)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from encore import catalogue
from encore.data.dataset import load_task
from encore.data.tokenise import Tokeniser, tokenise
from encore.encoder.bert import from_huggingface
from encore.encoder.load import load, locate
from encore.errors import DataError
from encore.model import Branch, TaskModel, seeded
from encore.plans.fine_tune import fine_tune
from encore.train import Rows, Stream, epoch_order, fit
from encore.types import StepReport

STEPS, BATCH = 60, 16


@pytest.mark.nightly
@pytest.mark.parametrize("task", ["stsb", "sst5"])
def test_every_loss_and_every_update_is_that_of_a_plain_loop(task: str) -> None:
    transformers = pytest.importorskip("transformers")
    try:
        source, data = locate("minilm"), load_task(task, seed=1, train_rows=STEPS * BATCH)
    except DataError as error:
        pytest.skip(str(error))
    labels, part = data.labels, data.train
    store = tokenise(Tokeniser(source.folder), part.texts, part.pairs, max_length=128, truncation="head")
    rows = Rows(store, part.targets, part.digest, part.rows, np.ones(len(part), np.float32))
    pretrained = load(source)
    with seeded(1, "initialisation"):
        head = catalogue.build("heads", {"name": "linear", "dropout": 0.0}, 384, labels.n_scores)
        model = TaskModel([Branch(pretrained.encoder, catalogue.build("pooling", "pooler", pretrained.shape))], head)
    for module in model.modules():
        for name in ("dropout", "attention_dropout", "p"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    loss = catalogue.build("losses", "mse" if labels.kind == "regression" else "cross_entropy", labels)
    stream = Stream(task, labels, rows, {}, data.metrics, {"task": (1.0, loss)})
    plan = fine_tune((task,), epochs=1, batch_size=BATCH)
    ours = [report.loss for report in fit({task: model}, plan, {task: stream}, seed=1) if isinstance(report, StepReport)]

    plain = transformers.BertForSequenceClassification.from_pretrained(
        source.folder, num_labels=labels.n_scores, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.0
    ).train()
    with torch.no_grad():
        plain.classifier.weight.copy_(start["head.out.weight"])
        plain.classifier.bias.copy_(start["head.out.bias"])
    named = list(plain.named_parameters())
    groups = [{"params": [p for _, p in named if p.ndim >= 2], "weight_decay": 0.01}, {"params": [p for _, p in named if p.ndim < 2], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=5e-5, eps=1e-8)
    schedule = transformers.get_linear_schedule_with_warmup(optimiser, math.ceil(0.1 * STEPS), STEPS)
    theirs, order = [], epoch_order(len(rows), 1, task, 0, None)
    for step in range(STEPS):
        chosen = order[step * BATCH : (step + 1) * BATCH]
        longest = int(store.lengths[chosen].max())
        ids, segments, mask = (torch.zeros(BATCH, longest, dtype=torch.long) for _ in range(3))
        for line, row in enumerate(chosen):
            begin, end = store.offsets[row], store.offsets[row + 1]
            ids[line, : end - begin] = torch.from_numpy(store.ids[begin:end].astype(np.int64))
            segments[line, : end - begin] = torch.from_numpy(store.segments[begin:end].astype(np.int64))
            mask[line, : end - begin] = 1
        scores, targets = plain(input_ids=ids, token_type_ids=segments, attention_mask=mask).logits, torch.from_numpy(part.targets[chosen])
        value = torch.nn.functional.mse_loss(scores.squeeze(1), targets) if labels.kind == "regression" else torch.nn.functional.cross_entropy(scores, targets)
        value.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        theirs.append(value.item())

    assert len(ours) == STEPS
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    state = plain.state_dict()
    encoder, pooler = from_huggingface({name: value for name, value in state.items() if name.startswith("bert.")})
    reached = {f"branches.0.encoder.{name}": value for name, value in encoder.items()}
    reached |= {f"branches.0.pooling.dense.{name}": value for name, value in pooler.items()}
    reached |= {"head.out.weight": state["classifier.weight"], "head.out.bias": state["classifier.bias"]}
    for name, value in model.state_dict().items():
        mine, plain_one = value - start[name], reached[name] - start[name]
        if name.endswith("qkv.bias"):                           # the key biases' true gradient is 0
            width = len(mine) // 3
            mine, plain_one = (torch.cat([each[:width], each[2 * width :]]) for each in (mine, plain_one))
        assert (mine - plain_one).norm() <= 0.01 * plain_one.norm(), name
