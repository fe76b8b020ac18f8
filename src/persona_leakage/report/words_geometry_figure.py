from matplotlib.figure import Figure


def words_geometry(table, result, personas, title, outcome):
    f = Figure()
    f.subplots()
    return f
