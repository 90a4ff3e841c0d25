"""What a model answers: logits, and greedy generation; also from a process that was spawned."""

import torch
from support.cache_inputs import IDS

PROMPT, NEW = IDS[:1, :40], 30


@torch.no_grad()
def answers(model):
    """Return the logits of a text, and what is generated after a prompt with the logits of every new token."""
    out = model.generate(
        PROMPT, max_new_tokens=NEW, do_sample=False, output_logits=True, return_dict_in_generate=True, pad_token_id=0
    )
    return [model(IDS).logits, out.sequences, torch.stack(out.logits)]


def answer(model, answered):
    """Put what a model answers into a queue, from another process."""
    torch.set_num_threads(1)
    answered.put([x.numpy() for x in answers(model)])
