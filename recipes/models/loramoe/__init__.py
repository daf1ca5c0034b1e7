"""LoRAMoE (arXiv 2312.09979): several LoRA experts behind a router in every adapted linear layer.

Importing this package registers the method with peft. A process that loads such an adapter must import it first,
otherwise peft raises `KeyError: 'LORAMOE'`.
"""

from recipes.models.loramoe.register import register

register()
