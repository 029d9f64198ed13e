"""Words that fictitious people are made of: syllables for names, lists for everything else."""

from __future__ import annotations

__all__ = [
    "ADJECTIVES",
    "COMPANY_KINDS",
    "COUNTRY_ENDS",
    "FAMOUS_ENDS",
    "FAMOUS_STARTS",
    "FIRST_ENDS",
    "FIRST_STARTS",
    "HERO_ENDS",
    "HOBBIES",
    "LAST_ENDS",
    "LAST_STARTS",
    "NOUNS",
    "PRIZE_KINDS",
    "PROFESSIONS",
    "RIVER_ENDS",
    "STEMS",
    "TOWN_ENDS",
]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in text.split(","))


FIRST_STARTS = _words(
    "Ar Bel Cor Dal El Fen Gal Hel Il Jor Kel Lor Mar Nel Or Per"
    " Quin Ral Sel Tam Ul Ver Wil Yor Zan"
)
FIRST_ENDS = _words("a an en eth ia ic in is o on us wyn")
# First names of famous authors, whom nobody here is named after.
FAMOUS_STARTS = _words("Bar Cla Dro Gre Hub Jul Mil Pas Ros Stel Tor Vin Wal Xan")
FAMOUS_ENDS = _words("bert da fred gar la lia mond na rick ta")
LAST_STARTS = _words(
    "Ash Bram Crow Dun East Fal Grim Hart Ivo Kirk Lang Mor Nor Oak"
    " Pell Rath Stan Thorn Under Vance"
)
LAST_ENDS = _words(
    "bane by croft dale den field ford gate ham hurst ley man mere more"
    " rick son stead ton wick worth"
)
STEMS = _words(
    "Ab Bri Cal Dor Esk Fro Gan Hib Ith Jas Kro Lum Mip Nad Osk Pru Rov Sib Tov Ulm Vel Wex Yar Zol"
)
TOWN_ENDS = _words("aris borg dun enna holm ira mora nesse ova polis")
COUNTRY_ENDS = _words("avia eria istan land onia uria")
HERO_ENDS = _words("abar edon ifer omir uster yld")
RIVER_ENDS = _words("ane elle ig umber uro")
COMPANY_KINDS = _words("Bank Lines Mills Motors Press Works")
PRIZE_KINDS = _words("Cup Medal Prize Ribbon Star Trophy")

# Words after "a": none begins with a vowel.
PROFESSIONS = _phrases(
    "baker, barber, beekeeper, botanist, brewer, butcher, carpenter, chemist,"
    "clerk, cook, dancer, dentist, diver, doctor, driver, farmer, firefighter, fisher, florist,"
    "gardener, geologist, hunter, jeweller, judge, lawyer, librarian, mason, mechanic, miner,"
    "nurse, painter, photographer, pilot, plumber, poet, potter, printer, sailor, sculptor,"
    "shepherd, singer, surgeon, tailor, teacher, weaver, zoologist"
)
HOBBIES = _phrases(
    "archery, astronomy, birdwatching, bowling, boxing, calligraphy, camping, canoeing, chess,"
    "climbing, cycling, darts, drawing, embroidery, falconry, fencing, fishing, gliding, golf,"
    "gymnastics, hiking, juggling, karate, kite flying, knitting, magic tricks, origami, pottery,"
    "puppetry, quilting, riding, rowing, running, sailing, skating, skiing, sledding, snorkelling,"
    "surfing, swimming, table tennis, tap dancing, volleyball, wrestling, yoga, stamp collecting,"
    "wood carving, model trains"
)
ADJECTIVES = _phrases(
    "Amber, Bitter, Broken, Distant, Empty, Frozen, Gentle, Golden, Hidden, Hollow, Iron, Last,"
    "Lonely, Painted, Quiet, Red, Salty, Secret, Silver, Sleeping, Stolen, Velvet, Wandering, Wild"
)
NOUNS = _phrases(
    "Anchor, Arrow, Bridge, Candle, Cellar, Clock, Crown, Desert, Feather, Forest, Garden, Harbour,"
    "Island, Kettle, Ladder, Lantern, Mirror, Mountain, Orchard, Rain, River, Shadow, Tower, Winter"
)
