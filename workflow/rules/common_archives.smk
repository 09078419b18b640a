# Which archives the configuration's packs need; holds no rule. Sources are imported only where they are asked for.
from functools import cache


@cache
def pack_entries():
    """Name -> entry (JSON) of every pack that is planned from files, and the index that it is made into."""
    names = {pack.rpartition("-")[0]: pack for pack, recipe in PLAN.packs.items() if recipe["path"] is not None}
    return {
        name: CONFIG.packs[name].model_dump(mode="json")
        | {"index": index_of(pack), "log": f"logs/{fetch_rule(pack)}/{pack}.log"}
        for name, pack in names.items()
    }


def fetch_rule(pack):
    """The rule that makes a pack."""
    return "fetch_web_pack" if "web" in PLAN.packs[pack] else "fetch_pack"


# Once, before anything is brought: afterwards there are fewer.
@cache
def archives_to_bring():
    """Archive -> the first pack that needs it, of every archive that is not there and can be had without a person."""
    from vlrepro.data.archives.wanted import wanted_of

    brought = {}
    for name, entry in pack_entries().items():
        if not os.path.exists(entry["index"]):
            for wanted in wanted_of(entry):
                if wanted.automatic and not wanted.there:
                    brought.setdefault(wanted.key, name)
    return brought


def packs_to_bring():
    """The packs that have a job which brings archives."""
    return list(dict.fromkeys(archives_to_bring().values()))


def brought_by_others(name):
    """The archives of a pack that another pack's job brings: two packs may be of one folder."""
    from vlrepro.data.archives.wanted import wanted_of

    keys = [wanted.key for wanted in wanted_of(pack_entries()[name])]
    return [key for key in keys if archives_to_bring().get(key, name) != name]


def ready_indexes(tried):
    """The indexes of the packs that can be made of what is on disk, once all archives were tried."""
    from vlrepro.data.archives.wanted import is_ready

    entries = pack_entries()
    ready = {name for name, entry in entries.items() if is_ready(entry)}
    return [ancient(index_of(pack)) for pack in PLAN.packs if pack.rpartition("-")[0] in ready]
