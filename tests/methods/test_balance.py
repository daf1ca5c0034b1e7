"""The balance term: what each form asks of the experts, over which batch, and that it reaches the routers."""

import json
import math
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from recipes.base.errors import RecipeError
from recipes.base.places import ROOT
from recipes.methods.losses.expert_balance import forms
from recipes.methods.losses.expert_balance.forms import preference
from recipes.methods.losses.expert_balance.loss import ExpertBalance
from recipes.models.loramoe.config import LoraMoeConfig
from recipes.models.routing import Routed, mutual_information, recording, routing_statistics
from tests.helpers.balance_rank import TYPES, Toy, batch_of, gradient, part, term_of, whole

# Forms, on free router logits


def minimised(loss_of, rows=16, experts=6, steps=400):
    """(loss at the end, router weights [rows, experts]) of Adam from random logits."""
    logits = (torch.randn(rows, experts, generator=torch.Generator().manual_seed(0)) * 1.5).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(logits.softmax(-1))
        loss.backward()
        optimizer.step()
    return loss.item(), logits.softmax(-1).detach()


def by_type(weights, rows):
    """[types, experts]: means over the rows of a type; row i has type rows[i]."""
    return torch.stack([weights[rows == kind].mean(0) for kind in (0, 1)])


ROWS = torch.arange(16) % 2


@pytest.mark.parametrize("form", ["sample_cv2", "sample_var_mean"])
@pytest.mark.parametrize(("sign", "share"), [("attract", 0.65), ("official", 0.35)])
def test_the_sign_decides_whether_matching_experts_get_more_or_less(form, sign, share):
    types = [1, 1, 1, 0, 0, 0]
    prefer = preference(types, ROWS.tolist(), 0.3, sign)
    _, weights = minimised(lambda w: getattr(forms, form)(w, prefer))
    matched = (weights * (torch.tensor(types) == ROWS.unsqueeze(-1))).sum(-1)
    assert (matched - share).abs().max() < 1e-3


def test_over_types_rows_of_a_type_keep_experts_of_their_own_which_over_rows_they_lose():
    types = [1, 1, 1, 0, 0, 0]
    prefer = preference(types, [0, 1], 0.3, "attract")
    loss, free = minimised(lambda w: forms.type_cv2(by_type(w, ROWS), prefer))
    _, held = minimised(lambda w: forms.sample_cv2(w, prefer[ROWS]))
    spread = [torch.stack([w[kind == ROWS].std(0) for kind in (0, 1)]).mean() for w in (free, held)]
    assert loss < 1e-6 and spread[0] > 0.1 and spread[1] < 0.03
    matched = (by_type(free, ROWS) * (torch.tensor(types) == torch.tensor([[0], [1]]))).sum(-1)
    assert torch.allclose(matched, torch.tensor(0.65), atol=1e-3)


def test_groups_of_unequal_size_reach_zero_a_type_at_a_time_and_cannot_together():
    types, delta = [1, 1, 1, 1, 0, 0], 0.3
    prefer = preference(types, [0, 1], delta, "attract")
    loss, weights = minimised(lambda w: forms.type_cv2(by_type(w, ROWS), prefer))
    matched = (by_type(weights, ROWS) * (torch.tensor(types) == torch.tensor([[0], [1]]))).sum(-1)
    for share, size in zip(matched.tolist(), (2, 4), strict=True):
        assert share == pytest.approx(size * (1 + delta) / (size * (1 + delta) + (6 - size) * (1 - delta)), abs=1e-3)

    def together(w):
        z = prefer * by_type(w, ROWS)
        return z.var(correction=0) / z.mean() ** 2

    assert loss < 1e-6 and minimised(together)[0] == pytest.approx(0.0093, abs=1e-3)


def test_load_balance_has_half_the_gradient_of_the_squared_variation_of_the_mean_routing():
    logits = torch.randn(8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    p = logits.softmax(-1)
    cv2 = p.var(correction=0) / p.mean() ** 2
    assert cv2.item() == pytest.approx((8 * (p * p).sum() - 1).item(), rel=1e-5)
    (of_cv2,) = torch.autograd.grad(cv2, logits, retain_graph=True)
    (of_lbl,) = torch.autograd.grad(forms.lbl(p, p), logits)
    assert torch.allclose(of_cv2, 2 * of_lbl, atol=1e-6)


def test_mutual_information_is_largest_for_sure_tokens_on_all_experts_and_none_for_unsure_or_collapsed_ones():
    sure, unsure, collapsed = torch.eye(4), torch.full((4, 4), 0.25), torch.eye(4)[[0, 0, 0, 0]]
    values = [forms.mi(tokens.mean(0), forms.entropies(tokens).mean()).item() for tokens in (sure, unsure, collapsed)]
    assert values == pytest.approx([-math.log(4), 0, 0], abs=1e-6)


def test_concentration_is_least_where_one_expert_takes_all_and_its_gradient_goes_there():
    collapsed, even = torch.eye(4)[0], torch.full((4,), 0.25)
    assert [forms.entropies(mean).item() for mean in (collapsed, even)] == pytest.approx([0, math.log(4)], abs=1e-6)
    logits = torch.tensor([0.1, 0.0, 0.0, 0.0], requires_grad=True)
    forms.entropies(logits.softmax(-1)).backward()
    assert logits.grad[0] < 0 < logits.grad[1:].min()  # descent gives more to the expert that has most


def test_experts_of_one_subject_are_punished_over_a_micro_batch_and_not_over_the_step():
    """Four micro-batches of one subject each, each on its own two of eight experts."""
    values = {}
    for scope in ("micro", "buffer"):
        term = ExpertBalance(1.0, [0] * 8, form="lbl", scope=scope)
        for subject in range(4):
            weights = torch.zeros(2, 5, 8)
            weights[..., 2 * subject : 2 * subject + 2] = 0.5
            term.routed = {"layer": Routed(weights, weights)}
            _, logged = term.loss(SimpleNamespace(training=True), {"input_ids": torch.zeros(2, 5)}, 0.25, 0.0)
            values[scope] = logged["loss"]
    assert values == pytest.approx({"micro": 4.0, "buffer": 1.0})


# The term over micro-batches, steps and processes


def by_hand(form, p, batch):
    """The form of one layer from probabilities [rows, tokens, experts], token by token as the formulas have it."""
    valid, kinds = batch["attention_mask"].bool(), batch["sample_type"]
    if form == "lbl":
        mean = p[valid].mean(0)
        return 6 * (mean.detach() * mean).sum()
    if form == "mi":
        every, mean = p[valid], p[valid].mean(0)
        return (mean * mean.log()).sum() - (every * every.log()).sum(-1).mean()
    if form == "concentration":
        mean = p[valid].mean(0)
        return -(mean * mean.log()).sum()
    factors = torch.where(torch.tensor(TYPES) == torch.tensor([[0], [1]]), 0.7, 1.3)
    if form == "type_cv2":
        z = torch.stack([factors[kind] * p[valid & (kinds == kind).unsqueeze(-1)].mean(0) for kind in (0, 1)])
        return (z.var(-1, correction=0) / z.mean(-1) ** 2).sum()
    gather = torch.mean if form == "sample_cv2" else torch.sum  # the paper sums over the tokens of a row
    z = torch.stack([factors[kinds[row]] * gather(p[row][valid[row]], 0) for row in range(len(p)) if kinds[row] >= 0])
    return z.var() / (z.mean() ** 2 if form == "sample_cv2" else z.mean())


@pytest.mark.parametrize("form", ["type_cv2", "sample_cv2", "sample_var_mean", "lbl", "mi", "concentration"])
def test_value_and_gradient_on_one_batch_are_those_of_the_formula(form):
    model, batch = Toy(), batch_of(9)
    with recording(model) as routed:
        model(batch["input_ids"])
    wanted = sum(by_hand(form, one.probabilities, batch) for one in routed.values()) / 2
    wanted.backward()
    direction = gradient(model)
    model.zero_grad()
    loss, _ = term_of(ExpertBalance(1.0, TYPES, form=form, scope="micro", delta=0.3), model, batch, 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-4)
    assert (gradient(model) - direction).norm() < 1e-5 * direction.norm()


@pytest.mark.parametrize("form", ["type_cv2", "lbl", "mi", "concentration"])
@pytest.mark.parametrize("top_k", [0, 2])
def test_parts_of_the_lagged_term_add_up_to_the_gradient_on_the_whole_batch(form, top_k):
    batch, model = batch_of(12), Toy(top_k)
    term = ExpertBalance(1.0, TYPES, form=form, scope="lagged", delta=0.3)
    value, wanted = whole(term, model, batch)
    for _ in range(2):  # the first pass gathers what the second goes by
        model.zero_grad()
        for step in range(4):
            loss, logged = term_of(term, model, part(batch, step, 3), 0.25)
            loss.backward()
        term.on_step_end()
    assert wanted.norm() > 1e-3 and (gradient(model) - wanted).norm() < 1e-6 * wanted.norm()
    assert logged["loss"] == pytest.approx(value, rel=1e-5)


def test_the_coefficients_are_those_of_the_closed_form():
    """2n Z / S1^2 - 2n S2 / S1^3, times I over the tokens of the type."""
    means = torch.rand(2, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    prefer = preference(TYPES, [0, 1], 0.3, "attract")
    (got,) = torch.autograd.grad(forms.type_cv2(means, prefer), means)
    z = prefer * means.detach()
    s1, s2 = z.sum(-1, keepdim=True), (z * z).sum(-1, keepdim=True)
    assert torch.allclose(got, prefer * (12 * z / s1**2 - 12 * s2 / s1**3), rtol=1e-4, atol=1e-5)


def test_the_buffer_is_nearer_to_the_whole_batch_than_micro_batches_of_one_type_and_forgets_at_the_step():
    batch, model, cosine = batch_of(24), Toy(), {}
    order = batch["sample_type"].argsort(stable=True)
    sorted_by_type = {key: value[order] for key, value in batch.items()}
    for scope in ("micro", "buffer"):
        term = ExpertBalance(1.0, TYPES, scope=scope, delta=0.3, form="lbl")
        _, wanted = whole(term, model, batch)
        model.zero_grad()
        for step in (0, 3, 6, 1, 4, 7, 2, 5):
            term_of(term, model, part(sorted_by_type, step, 3), 1 / 8)[0].backward()
        cosine[scope] = torch.cosine_similarity(gradient(model), wanted, dim=0).item()
    assert cosine["buffer"] > cosine["micro"]
    first = term_of(term, model, batch, 1.0)[1]
    term.on_step_end()
    again = [term_of(term, model, batch, 1.0)[1] for _ in range(2)]
    assert again[0] == pytest.approx(term_of(ExpertBalance(1.0, TYPES, form="lbl"), model, batch, 1.0)[1])
    assert first != again[0]


def test_two_processes_with_two_micro_batches_each_equal_one_batch(tmp_path):
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.balance_rank", str(rank), str(tmp_path / "meeting")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank in ranks:
        measured = json.loads(rank.communicate()[0].splitlines()[-1])
        assert measured["gradient"] < 1e-6 and measured["value"] < 1e-6 and measured["between ranks"] == 0.0


@pytest.mark.parametrize("form", ["type_cv2", "sample_cv2", "sample_var_mean", "lbl", "mi", "concentration"])
def test_padding_rows_without_type_and_autocast_change_nothing(form):
    model, batch = Toy(), batch_of(6)
    term = ExpertBalance(1.0, TYPES, form=form, scope="micro")
    value = term_of(term, model, batch, 1.0)[1]
    longer = {
        key: torch.nn.functional.pad(batch[key], (0, 7), value=-100 if key == "labels" else 0)
        for key in ("input_ids", "attention_mask", "labels")
    } | {"sample_type": batch["sample_type"]}
    assert term_of(term, model, longer, 1.0)[1] == pytest.approx(value, rel=1e-5)
    everything = longer | {"attention_mask": torch.ones_like(longer["attention_mask"])}
    assert term_of(term, model, everything, 1.0)[1]["loss"] != pytest.approx(value["loss"], rel=1e-3)
    with term.capture(model):
        model(batch["input_ids"])
    with torch.autocast("cpu", torch.bfloat16):
        assert term.loss(model, batch, 1.0, 0.0)[1]["loss"] == pytest.approx(value["loss"], rel=1e-5)
    if form not in ("lbl", "mi", "concentration"):
        typed = {key: entry[batch["sample_type"] >= 0] for key, entry in batch.items()}
        assert term_of(term, model, typed, 1.0)[1]["loss"] == pytest.approx(value["loss"], rel=1e-5)


@pytest.mark.parametrize(("form", "times"), [("sample_cv2", 1), ("sample_var_mean", 50)])
def test_the_papers_own_form_grows_with_the_length_of_rows_and_no_other(form, times):
    """arXiv 2312.09979 sums the weights over the tokens of a row, and does not square the mean."""
    weights = torch.rand(4, 6, len(TYPES), generator=torch.Generator().manual_seed(0)).softmax(-1)
    values = []
    for p in (weights, weights.repeat(1, 50, 1)):
        term = ExpertBalance(1.0, TYPES, form=form, scope="micro")
        term.routed = {"layer": Routed(p, p)}
        inputs = {"input_ids": torch.zeros(p.shape[:2]), "sample_type": torch.tensor([0, 1, 0, 1])}
        values.append(term.loss(SimpleNamespace(training=True), inputs, 1.0, 0.0)[1]["loss"])
    assert values[1] == pytest.approx(times * values[0], rel=1e-4)


@pytest.mark.parametrize("form", ["lbl", "mi", "concentration"])
def test_forms_without_types_take_rows_of_a_type_that_no_expert_has(form):
    model, batch = Toy(), batch_of(6)
    term, plain = (ExpertBalance(1.0, [0] * len(TYPES), form=form, scope="micro") for _ in range(2))
    found = term_of(term, model, batch | {"sample_type": torch.tensor([0, 1, 1, 0, 1, 0])}, 1.0)[1]
    alone = term_of(plain, model, {key: value for key, value in batch.items() if key != "sample_type"}, 1.0)[1]
    assert found["loss"] == pytest.approx(alone["loss"], rel=1e-6) and "matched_0" in found


def test_with_the_mask_completion_only_tokens_that_are_learnt_from_count():
    model, batch = Toy(), batch_of(6)
    term = ExpertBalance(1.0, TYPES, mask="completion")
    value = term_of(term, model, batch, 1.0)[1]
    batch["labels"][:, :2] = -100
    shorter = batch | {"attention_mask": batch["attention_mask"].clone()}
    shorter["attention_mask"][:, :2] = 0
    cut, wanted = (term_of(t, model, b, 1.0)[1] for t, b in ((term, batch), (ExpertBalance(1.0, TYPES), shorter)))
    assert cut != value
    term.on_step_end()
    assert term_of(term, model, batch, 1.0)[1] == pytest.approx(wanted)


def test_one_type_or_none_in_a_batch_gives_finite_gradients():
    model, batch = Toy(), batch_of(6)
    for form in ("type_cv2", "sample_cv2", "sample_var_mean"):
        for kind in (1, -1):
            model.zero_grad()
            term = ExpertBalance(1.0, TYPES, form=form, scope="micro")
            loss, logged = term_of(term, model, batch | {"sample_type": torch.full((6,), kind)}, 1.0)
            loss.backward()
            assert gradient(model).isfinite().all() and bool(gradient(model).any()) == (kind == 1)
            assert ("matched_1" in logged, "matched_0" in logged) == (kind == 1, False)


def test_the_layers_are_averaged_or_summed_and_weight_and_scale_multiply():
    model, batch = Toy(), batch_of(6)
    mean, total = (term_of(ExpertBalance(1.0, TYPES, reduce=name), model, batch, 1.0)[0] for name in ("mean", "sum"))
    scaled, logged = term_of(ExpertBalance(3.0, TYPES), model, batch, 0.5)
    assert total.item() == pytest.approx(2 * mean.item()) and scaled.item() == pytest.approx(1.5 * mean.item())
    assert logged["loss"] == pytest.approx(mean.item())


def test_what_is_logged_is_that_of_the_weights():
    weights = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    term = ExpertBalance(1.0, [1, 0, 0], scope="micro")
    term.routed = {"layer": Routed(weights, weights)}
    inputs = {"input_ids": torch.zeros(2, 2), "sample_type": torch.tensor([1, 0])}
    inputs["attention_mask"] = torch.tensor([[1, 1], [1, 0]])
    _, logged = term.loss(SimpleNamespace(training=True), inputs, 1.0, 0.0)
    entropies = [-sum(p * math.log(p) for p in row) for row in ([0.5, 0.3, 0.2], [0.1, 0.1, 0.8])]
    wanted = {"matched_1": 0.3, "matched_0": 1.0, "entropy": sum(entropies) / 3, "largest": 1.4 / 3, "smallest": 0.2}
    assert {key: logged[key] for key in wanted} == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("values", "change", "said"),
    [
        ({}, {"sample_type": torch.full((6,), 5)}, "a type that no expert has"),
        ({}, {"sample_type": torch.zeros(2, dtype=torch.long)}, "one for each of the 6 rows"),
        ({}, {"sample_type": None}, "without sample_type"),
        ({"expert_types": [1, 0]}, {}, r"\(6, 10, 2\)"),
    ],
    ids=["unknown type", "packed", "no types", "other experts"],
)
def test_rows_and_types_that_do_not_fit_are_refused(values, change, said):
    term = ExpertBalance(**{"weight": 1.0, "expert_types": TYPES} | values)
    with pytest.raises(RecipeError, match=said):
        term_of(term, Toy(), batch_of(6) | change, 1.0)


def test_settings_without_meaning_are_named_together():
    with pytest.raises(RecipeError) as caught:
        ExpertBalance(1.0, TYPES, form="sample_cv2", sign="plus", delta=1.5)
    assert all(word in str(caught.value) for word in ("scope = 'buffer'", "sign = 'plus'", "delta = 1.5"))


# The recorder and the statistics


def test_the_recorder_leaves_nothing_behind_even_after_an_error():
    model = Toy()
    before = {id(module): set(vars(module)) for module in model.modules()}
    with pytest.raises(ZeroDivisionError), recording(model) as routed:
        model(torch.zeros(1, 3, dtype=torch.long))
        raise ZeroDivisionError
    assert list(routed) == ["first", "second"] and routed["first"].weights.shape == (1, 3, 6)
    assert before == {id(module): set(vars(module)) for module in model.modules()}


def test_the_first_call_of_a_layer_is_kept_and_only_the_named_adapter_is_looked_at():
    model, ids = Toy(), torch.arange(6).view(2, 3)
    model.first.update_layer("other", LoraMoeConfig(num_experts=3))
    model.first.set_adapter(["default", "other"])
    with recording(model, "other") as other:
        model(ids)
    with recording(model) as routed:
        model(ids)
        with torch.no_grad():  # as TRL does for its metrics under label smoothing
            model(ids + 1)
    assert {name: one.weights.shape[-1] for name, one in other.items()} == {"first": 3}
    assert {name: one.weights.shape[-1] for name, one in routed.items()} == {"first": 6, "second": 6}
    assert routed["second"].probabilities.requires_grad


def test_statistics_are_mean_weights_by_type_and_know_when_experts_tell_types_apart():
    model = Toy()
    batches = [batch_of(6, seed=seed) for seed in range(2)]
    found = routing_statistics(model, batches)
    assert json.loads(json.dumps(found)) == found and model.training and set(found["tokens"]) == {"0", "1"}
    rows = [(b["sample_type"] == 1).unsqueeze(-1) & b["attention_mask"].bool() for b in batches]
    with recording(model) as one:
        model(batches[0]["input_ids"])
    with recording(model) as two:
        model(batches[1]["input_ids"])
    mean = torch.cat([one["second"].weights[rows[0]], two["second"].weights[rows[1]]]).mean(0)
    assert found["layers"]["second"]["1"] == pytest.approx(mean.tolist(), rel=1e-4)
    assert found["tokens"]["1"] == sum(int(r.sum()) for r in rows)
    apart = {
        "tokens": {"0": 5, "1": 5},
        "layers": {"x": {"0": [1, 0], "1": [0, 1]}, "y": {"0": [0.5] * 2, "1": [0.5] * 2}},
    }
    assert mutual_information(apart) == pytest.approx({"x": math.log(2), "y": 0.0})
