# Which archives the configuration's packs need; holds no rule. Sources are imported only where they are asked for.
def pack_entries():
    """Name -> entry (JSON) of every pack that is planned from files, and the index that it is made into."""
    names = {pack.rpartition("-")[0]: pack for pack, recipe in PLAN.packs.items() if recipe["path"] is not None}
    return {name: CONFIG.packs[name].model_dump(mode="json") | {"index": index_of(pack)} for name, pack in names.items()}


def archives_wanted():
    """The key of every archive that is not there and can be had without a person."""
    from vlrepro.data.archives.wanted import wanted_of

    unmade = (entry for entry in pack_entries().values() if not os.path.exists(entry["index"]))
    found = (wanted for entry in unmade for wanted in wanted_of(entry))
    return list(dict.fromkeys(wanted.key for wanted in found if wanted.automatic and not wanted.there))


def archive_entry(archive):
    """The entry of a pack that an archive belongs to."""
    from vlrepro.data.archives.wanted import wanted_of

    return next(entry for entry in pack_entries().values() if archive in {one.key for one in wanted_of(entry)})


def ready_indexes(tried):
    """The indexes of the packs that can be made of what is on disk, once all archives were tried."""
    from vlrepro.data.archives.wanted import is_ready

    entries = pack_entries()
    ready = {name for name, entry in entries.items() if is_ready(entry)}
    return [ancient(index_of(pack)) for pack in PLAN.packs if pack.rpartition("-")[0] in ready]
