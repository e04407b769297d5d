"""A tiny model, made from nothing. Importing this imports no library."""

from pathlib import Path

WORDS = """the a of to and in is that it was for on are with as i his they be at one have this from or had by hot but
some what there we can out other were all your when up use word how said an each she which do their time if
will way about many then them would write like so these her long make thing see him two has look more day
could go come did my sound no most number who over know water than call first people may down side been now
find any new work part take get place made live where after back little only round man year came show every
good me give our under name very through just form much great think say help low line before turn cause same
mean differ move right boy old too does tell sentence set three want air well also play small end put home
read hand port large spell add even land here must big high such follow act why ask men change went light kind
off need house picture try us again animal point mother world near build self earth father cat dog card bank
account money transfer payment question answer sleeping running woman playing guitar street red blue""".split()


def tiny_model(home: Path) -> Path:
    """home/model, a random BERT of width 32 in sentence-transformers' format."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(97, 123)]
    tokens = [*special, *dict.fromkeys([*WORDS, *letters, *("##" + c for c in letters), *".,?!'0123456789"])]
    BertTokenizerFast(vocab={t: i for i, t in enumerate(tokens)}).save_pretrained(home / "bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(home / "bert")
    transformer = Transformer(str(home / "bert"), max_seq_length=64)
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")
    SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu").save(str(home / "model"))
    return home / "model"
