"""Make LoRAMoE one of peft's methods."""

from peft import PeftType
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import register_peft_method

NAME = "LORAMOE"


def extend_enum(name: str) -> None:
    """Add `name` to peft's enum of methods, which `register_peft_method` looks the name up in.

    An enum is closed once it is defined, so the member is entered where Python's own enum class enters it. Call by
    value, access by name, listing, copying and pickling then work as for the other members.
    """
    if name in PeftType.__members__:
        return
    member = str.__new__(PeftType, name)
    member._name_ = member._value_ = name
    vars(member).update(__objclass__=PeftType, _sort_order_=len(PeftType._member_names_))
    PeftType._member_names_.append(name)
    PeftType._member_map_[name] = member
    PeftType._value2member_map_[name] = member
    type.__setattr__(PeftType, name, member)  # EnumType.__setattr__ refuses to set a member


def register() -> None:
    """Register the method; doing it twice does nothing."""
    from recipes.models.loramoe.config import LoraMoeConfig
    from recipes.models.loramoe.model import LoraMoeModel

    extend_enum(NAME)
    if PeftType[NAME] not in PEFT_TYPE_TO_TUNER_MAPPING:
        register_peft_method(name=NAME.lower(), config_cls=LoraMoeConfig, model_cls=LoraMoeModel)
