"""TRL's SFTTrainer whose loss is the cross-entropy plus losses (see `recipes.models.loss_protocol`)."""

from contextlib import ExitStack
from pathlib import Path
from typing import cast

import torch
from datasets import Dataset
from peft.optimizers import create_loraplus_optimizer
from peft.peft_model import PeftModel
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, TrainerCallback
from trl import SFTTrainer


class LossTrainer(SFTTrainer):
    """Adds `losses` to the training loss, and logs `ce` and each loss's own metrics beside it.

    The loss of an evaluation stays the plain cross-entropy. A column `sample_type` of the dataset (an integer a row)
    reaches the losses; it needs rows that are not packed. A column `length` (tokens a row) lets rows that are tokenized
    on the fly, those with images, be grouped by it. `b_rate` is LoRA+'s learning rate of B over that of A. What a
    loss keeps from step to step lies in its checkpoints, so that a run that goes on is the same run.
    """

    model: PreTrainedModel
    train_dataset: Dataset

    def __init__(self, *args, losses=(), b_rate: float = 1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.losses, self.b_rate = losses, b_rate
        if "sample_type" in self.train_dataset.column_names:
            self.data_collator = with_types(self.data_collator)
        self.add_callback(StepEnd(losses))

    def _set_signature_columns_if_needed(self):
        super()._set_signature_columns_if_needed()
        if "sample_type" not in self._signature_columns:
            self._signature_columns = [*self._signature_columns, "sample_type", "length"]

    def create_optimizer(self, model=None):
        if self.optimizer is None and self.b_rate != 1.0:
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            settings |= {"loraplus_lr_ratio": self.b_rate, "loraplus_weight_decay": self.args.weight_decay}
            self.optimizer = create_loraplus_optimizer(cast(PeftModel, self.model), kind, **settings)
        return super().create_optimizer(model)

    def _save(self, output_dir=None, state_dict=None):
        super()._save(output_dir, state_dict)
        folder = output_dir or self.args.output_dir
        assert folder is not None, "TrainingArguments names one where nobody else does"
        for loss_term in self.losses:
            if kept := loss_term.state_dict():
                save_file(kept, Path(folder, f"{loss_term.name}.safetensors"))

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        for loss_term in self.losses:
            file = Path(resume_from_checkpoint, f"{loss_term.name}.safetensors")
            if file.is_file():
                loss_term.load_state_dict(load_file(file, device=str(self.args.device)))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        types = inputs.pop("sample_type", None)
        if not (self.losses and self.model.training):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with ExitStack() as stack:
            for loss_term in self.losses:
                stack.enter_context(loss_term.capture(model))
            loss = super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        note, shares = self._metrics["train"], self._shares(inputs, num_items_in_batch)
        note["ce"].append(loss.item() / shares[1] / max(1, self._learnt(inputs)))
        for loss_term in self.losses:
            # Accelerate casts inside the model's own forward only; a reference pass has to compute as that one did.
            with self.accelerator.autocast():
                part, metrics = loss_term.loss(
                    model, inputs | ({} if types is None else {"sample_type": types}), *shares
                )
            loss = loss if part is None else loss + part
            for key, value in metrics.items():
                note[f"{loss_term.name}/{key}"].append(value)
        return loss

    def _learnt(self, inputs) -> int:
        return int((inputs["labels"][:, 1:] != -100).sum())

    def _shares(self, inputs, num_items_in_batch) -> tuple[float, float]:
        """What a mean over the micro-batch, and a sum over its learnt tokens, are multiplied by: as TRL's own loss."""
        if num_items_in_batch is None:
            return 1.0, 1.0 / max(1, self._learnt(inputs))
        ranks = self.accelerator.num_processes // self.get_tp_size() if self.args.average_tokens_across_devices else 1
        return 1.0 / self.current_gradient_accumulation_steps, ranks / max(1.0, float(num_items_in_batch))


class StepEnd(TrainerCallback):
    """Tells the losses that an optimizer step is over."""

    def __init__(self, losses):
        self.losses = losses

    def on_step_end(self, args, state, control, **kwargs):
        for loss_term in self.losses:
            loss_term.on_step_end()


def with_types(collator):
    """`collator` that keeps the rows' `sample_type`, which TRL's own drops."""

    def collate(examples):
        batch = collator(examples)
        batch["sample_type"] = torch.tensor([example["sample_type"] for example in examples])
        return batch

    return collate
