"""Pictures and videos without end, in bounded memory: predicted piece by piece, resumed, written, drawn."""
