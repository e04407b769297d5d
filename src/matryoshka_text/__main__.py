"""`python -m matryoshka_text`, which is what `accelerate launch -m matryoshka_text train …` calls."""

from matryoshka_text.cli import main

if __name__ == "__main__":
    main()
