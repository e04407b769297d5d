"""Files in, rows or texts out: every format, one kind of fault. This room knows neither tensors nor tasks."""

from matryoshka_text.reading.cells import MISSING, Cells
from matryoshka_text.reading.faults import Faults
from matryoshka_text.reading.files import PLAIN_SUFFIXES, TABLE_SUFFIXES
from matryoshka_text.reading.table import Row, Table, columns_of, open_table, require_columns, table_of_dataset
from matryoshka_text.reading.texts import STDIN, Text, Texts, read_texts

__all__ = [
    "MISSING",
    "PLAIN_SUFFIXES",
    "STDIN",
    "TABLE_SUFFIXES",
    "Cells",
    "Faults",
    "Row",
    "Table",
    "Text",
    "Texts",
    "columns_of",
    "open_table",
    "read_texts",
    "require_columns",
    "table_of_dataset",
]
