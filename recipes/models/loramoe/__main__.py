"""lm-eval's own command line, in a process where peft knows LoRAMoE.

python -m recipes.models.loramoe run --model hf --model_args pretrained=BASE,peft=ADAPTER --tasks TASK
"""

from lm_eval.__main__ import cli_evaluate

if __name__ == "__main__":
    cli_evaluate()
