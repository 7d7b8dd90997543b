"""Say in words what pydantic found wrong with outside input."""

from pydantic import ValidationError
from pydantic_core import ErrorDetails

# By pydantic's types of error; what is not here keeps pydantic's own words.
SAID = {
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "extra_forbidden": "is not known here",
    "json_invalid": "must be JSON",
}


def form_faults(error: ValidationError) -> str:
    """Every field that is missing, else what is wrong with the first field that is.

    Example:
        >>> from pydantic import BaseModel
        >>> class Row(BaseModel):
        ...     id: str
        ...     seconds: float
        >>> try:
        ...     Row.model_validate({"video": "a.mp4"})
        ... except ValidationError as error:
        ...     form_faults(error)
        'one without id, seconds'
    """
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    missing = [field_of(fault) for fault in faults if fault["type"] == "missing"]
    if missing:
        return f"one without {', '.join(missing)}"
    field = field_of(faults[0])
    said = SAID.get(faults[0]["type"], _own_words(faults[0]["msg"]))
    return f"one whose {field} {said}" if field else f"one that {said}" if said in SAID.values() else said


def _own_words(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should be", "must be")


def field_of(fault: ErrorDetails) -> str:
    """The field's name, with dots for what lies inside of it."""
    return ".".join(str(part) for part in fault["loc"])
