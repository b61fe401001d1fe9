"""Penn Treebank tokens of English text, lower-cased and without punctuation, as caption scorers count them.

The scorers of COCO captions (Chen et al., arXiv 1504.00325, section 3) split text with Stanford's PTBTokenizer, options
``-preserveLines -lowerCase``, and drop 17 punctuation tokens; that needs Java. What is here follows the Treebank's published
conventions and what that tokenizer answers: at each place the longest token wins. Two things surprise: ``,1088.3,497.5`` is
one token, and brackets stay (``-lrb-``), for they are looked for in capitals after everything was made lower case. Letters
outside Latin, emoticons and bare domain names may be split differently.
"""

import functools
import re

_LETTER = r"[^\W\d_²³¹¼-¾]"
_WORD = rf"(?:{_LETTER}|\d)+"
_JOINED = rf"{_WORD}(?:[-_]{_WORD})*"
_NUMBER = r"(?:\d*(?:[.,:]\d+)+|\d+)"
_NAME = r"[A-Za-z][\w:.-]*+"
_VALUE = rf"(?:\"[^\"<>]*+\"|'[^'<>]*+'|{_NAME})"
_ABBREVIATIONS = (
    "Mr Mrs Ms Messrs Dr Drs Prof Gen Rep Reps Sen Sens Gov Col Lt Maj Sgt Capt Cmdr Adm Hon Rev Pres St Ste Jr Sr "
    "Inc Ltd Co Cos Corp Bros "
    "vs etc al Ave Blvd Rd Sq Univ Dept Est Ph Assn Mt Ft Bldg Natl Intl "
    "Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Mon Tue Tues Wed Thu Thurs Fri"
)
# Abbreviations only in front of a number; elsewhere their full stop ends a sentence.
_NUMBERED = "No Nos Fig Figs Art Prop"
# Before these a letter's full stop ends a sentence ("B. The car"); before other words it is an initial's.
_STARTS = (
    "A About According Additionally After An As At But Cannot Earlier He Here However If In It Last Many More Now Once One "
    "Other Our Since So Some Such That The Their Then There These They This We What When While Yet You"
)
_TOKENS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"</?{_NAME}(?:\s++{_NAME}(?:\s*+=\s*+{_VALUE})?)*+\s*+/?>|<[!?]{_NAME}[^<>]*+>",
        r"(?:https?|ftp)://[^\s\"<>|()]+[^\s\"<>|.!?(),;:'-]|www\.[^\s\"<>|()]+[^\s\"<>|.!?(),;:'-]",
        r"[\w.-]{1,64}@(?:[\w-]{1,64}\.)+[a-z]{2,}",
        r"@[a-z_]\w*|#[a-z]+",
        r"n['’]t(?!\w)",
        r"['’](?:s|m|d|ll|re|ve)(?!\w)",
        r"['’]t(?=(?:is|was)(?!\w))|['’]n['’]|['’](?:em|cause|til|n)(?!\w)|['’]\d\ds?(?!\w)",
        r"[odl]['’](?!(?:ll|re|ve)\b)[a-z]{2,}|ma['’]am|o['’]clock|d['’]ye",
        r"[ly]['’](?=[a-z])",
        _JOINED,
        rf"{_JOINED}(?:\\?/{_JOINED}){{1,2}}",
        rf"(?-i:[A-Z]+(?:&[A-Z]+)+)|{_LETTER}+[!?]{_LETTER}+",
        rf"{_LETTER}\w*(?:\.{_LETTER}(?:{_WORD})?)+",
        rf"(?:[a-z]\.){{2,}}|Ph\.D\.|[a-z]\.(?!\s+(?-i:{'|'.join(_STARTS.split())})\b)",
        rf"(?:{'|'.join(_ABBREVIATIONS.split())})\.(?!\w)",
        rf"(?:{'|'.join(_NUMBERED.split())})\.(?=\s+\d)",
        rf"[-+]?{_NUMBER}",
        rf"\d+(?:[.,]\d+)+(?:-{_WORD})+",
        r"(?-i:US|HK|A|C|NZ)\$|C\+\+|C#",
        r"&(?:amp|lt|gt|quot|nbsp|apos);",
        r"[!?]{2,}|#+|\\\*|\*+|_+|-+|\.\.\.|''|``|[:;]-?[()]",
    )
)
_NEGATED = re.compile(rf"{_LETTER}+?(?=n['’]t(?!\w))", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z]+(?=[ ,]|$)")
_IN_TWO = {
    "cannot": "can not", "gonna": "gon na", "gotta": "got ta", "wanna": "wan na", "lemme": "lem me", "gimme": "gim me",
}  # fmt: skip
_SPELLED = {
    "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-", "€": "$", "£": "#",
    "&amp;": "&", "&lt;": "<", "&gt;": ">",
}  # fmt: skip
_DROPPED = frozenset(".?!,:;'\"`‘’“”…–—") | {"''", "``", "...", "&quot;", "&nbsp;", "&apos;"}


def _token(text: str, place: int) -> str:
    """The token that starts at a place which is no blank."""
    plain = _PLAIN.match(text, place) or _NEGATED.match(text, place)
    if plain:
        return plain[0]
    found = (pattern.match(text, place) for pattern in _TOKENS)
    return max((match[0] for match in found if match), key=len, default=text[place])


@functools.lru_cache(maxsize=65_536)
def ptb_tokens(text: str) -> tuple[str, ...]:
    """The tokens of a text; line ends are blanks."""
    tokens: list[str] = []
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        token = _token(text, place)
        place += len(token)
        word = token.lower().replace("’", "'")
        if word in _DROPPED or not word.strip("-"):
            continue
        tokens += _IN_TWO.get(word, _SPELLED.get(word, word).replace("(", "-lrb-").replace(")", "-rrb-")).split()
    return tuple(tokens)
