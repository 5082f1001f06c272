"""Figures of deck 08: the diagrams of lessons 15 and 16."""

from afina.teach import figures

PICTURES = {
    "job_states": lambda: (figures.job_states(), figures.JOB_STATES_ALT),
    "bedrock_parts": lambda: (figures.bedrock_parts(), figures.BEDROCK_PARTS_ALT),
}
