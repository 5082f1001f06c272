"""The forms in which instructions are written, once each: Alpaca in English (lesson 14) and in Portuguese (lesson 12).

A chat form is a Jinja template, as transformers keeps it beside a tokenizer. Lesson 12's text is `afina.gpt.instruct.alpaca`.
"""

ALPACA = "### Instruction:\n{}\n\n### Input:\n{}\n\n### Response:\n{}"

# of models/llama-base: the same form serves training, the twins and the chat page
LLAMA_CHAT = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '### Response:\n' + message['content'] + eos_token + '\n' }}"
    "{% elif message['role'] == 'user' %}{{ '### Instruction:\n' + message['content'] + '\n\n' }}"
    "{% else %}{{ message['content'] + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
)
# of a GPT by hand: the prompts of lesson 12; an input goes into the message: "instruction\n\n### Entrada:\ninput"
_IN_PORTUGUESE = LLAMA_CHAT.replace("Instruction", "Instrução").replace("Response", "Resposta")
ALPACA_CHAT = "{{ bos_token }}" + _IN_PORTUGUESE.replace("eos_token + '\n'", "eos_token")
