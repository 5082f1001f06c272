"""Sphinx's settings for the site. `make site` stages the pages (workshop.site) and reads this; nothing is fetched, here or there."""

import functools
import html
import inspect
import json
import re
from pathlib import Path

import snowballstemmer
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.search.pt import SearchPortuguese
from sphinx.util.docutils import SphinxTranslator

from afina import __version__
from workshop.notebooks import BRANCH, REPOSITORY
from workshop.site import searched, without_accents

HERE = Path(__file__).parent

project, release, language = "Afina", __version__, "pt_BR"
html_title = "Afina"
extensions = ["myst_nb", "sphinx.ext.githubpages"]
locale_dirs = ["locale"]  # the theme's words that it has not translated

nb_execution_mode = "off"
nb_output_stderr = "remove"
nb_merge_streams = True
nb_code_prompt_show, nb_code_prompt_hide = "Mostrar o código", "Esconder o código"
myst_all_links_external = True  # the stage has resolved them
myst_enable_extensions = ["dollarmath"]
myst_dmath_allow_space = myst_dmath_allow_digits = False  # US$ 5 is money
html_math_renderer = "mathml"

suppress_warnings = ["misc.highlighting_failure"]  # an example with "…" is no JSON, and says what it means

html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_favicon = "_static/favicon.svg"
html_copy_source = html_show_sourcelink = html_show_copyright = html_show_sphinx = False
html_domain_indices = html_use_index = False
html_show_search_summary = (
    False  # it would fetch each page, which a browser refuses to a file: docs/search.js has the texts
)
html_theme_options = {
    "repository_url": REPOSITORY,
    "repository_branch": BRANCH,
    "use_repository_button": True,
    "use_download_button": False,  # it would give the staged notebook: the cover links the committed one
    "navbar_persistent": [],  # the theme shows its own search box already
    "search_bar_text": "Buscar no curso",
    "toc_title": "Nesta página",
    "show_toc_level": 2,
    "footer_content_items": ["extra-footer"],
    "extra_footer": f"Afina {__version__} · código: Apache-2.0 · texto, figuras e dados sintéticos: CC BY 4.0",
}


class Search(SearchPortuguese):
    """Finds «quantização» when «quantizacao» is typed: both sides drop the accents before and after stemming."""

    stopwords = SearchPortuguese.stopwords | {without_accents(word) for word in SearchPortuguese.stopwords}
    js_stemmer_rawcode = ""  # what Sphinx would send for Portuguese; ours is the same, wrapped
    js_stemmer_code = "\n".join(
        (Path(inspect.getfile(SearchPortuguese)).parent / "minified-js" / name).read_text(encoding="utf-8")
        for name in ("base-stemmer.js", "portuguese-stemmer.js")
    ) + (HERE / "search.js").read_text(encoding="utf-8")

    def __init__(self, options):
        super().__init__(options)
        stemmer = snowballstemmer.stemmer("portuguese")
        self.stem = functools.cache(lambda word: without_accents(stemmer.stemWord(searched(word))))


def sections(document: nodes.document) -> list[list[str]]:
    """[title, id, text] of each section of a page, its subsections apart: what the search quotes."""
    found = []
    for section in document.findall(nodes.section):
        title, *rest = section.children
        own = [child for child in rest if not isinstance(child, nodes.section)]
        text = " ".join(words(block) for child in own for block in child.findall(is_block))
        found.append([title.astext(), section["ids"][0], " ".join(text.split())])
    return found


def is_block(node: nodes.Node) -> bool:
    return isinstance(node, nodes.raw) or (isinstance(node, nodes.TextElement) and not isinstance(node, nodes.Inline))


def words(block: nodes.Element) -> str:
    if not isinstance(block, nodes.raw):
        return block.astext()
    return html.unescape(re.sub(r"(?s)<(style|script).*?</\1>|<[^>]*>", " ", block.astext()))


def write_texts(app, error):
    """The texts of every page as a script, since a page opened from a disk may not fetch another."""
    if not error:
        texts = {name: sections(app.env.get_doctree(name)) for name in sorted(app.env.all_docs)}
        script = f"const TEXTS = {json.dumps(texts, ensure_ascii=False, separators=(',', ':'))};\n"
        (Path(app.outdir) / "_static" / "texts.js").write_text(script, encoding="utf-8")


def mathml(as_block: bool):
    """A formula as MathML, which browsers draw without a script."""

    def visit(translator: SphinxTranslator, node: nodes.Element) -> None:
        translator.body.append(tex2mathml(node.astext(), as_block=as_block))
        raise nodes.SkipNode

    return visit, None


def setup(app):
    app.add_search_language(Search)
    app.add_html_math_renderer("mathml", mathml(as_block=False), mathml(as_block=True))
    app.connect("build-finished", write_texts)
