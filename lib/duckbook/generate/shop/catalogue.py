"""Catalogue: categories and subcategories, their prices, and pairs that go together.

Prices are medians in USD, and return rates are shares of delivered lines. Both are assumptions. `realism` compares the
mean return rate, weighted by sales, with NRF and Appriss.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Category:
    """Category. `margin` is 1 - cost / list price, `women` the tilt of demand towards women."""

    name: str
    demand: float
    margin: float
    return_rate: float
    women: float
    brands: tuple[str, ...]
    praise: tuple[str, ...]
    blame: tuple[str, ...]


@dataclass(frozen=True)
class Subcategory:
    """Subcategory. `price` is the median list price in USD, `weight` the median in kilograms."""

    name: str
    category: int
    price: float
    weight: float
    demand: float
    nouns: tuple[str, ...]


CATEGORIES = (
    Category("Electronics", 1.15, 0.28, 0.125, 0.42,
             ("Voltera", "Nordlyte", "Kanto", "Aurix", "Pixelforge", "Helio"),
             ("the battery lasts all day", "setup took two minutes", "the sound is clear", "it pairs at once"),
             ("the battery dies by noon", "it keeps losing the connection", "the screen flickers", "it gets too hot")),
    Category("Clothing", 1.30, 0.55, 0.285, 0.60,
             ("Maple & Main", "Corvane", "Linden", "Oakline", "Tessuto", "Harbor Row"),
             ("it fits as expected", "the fabric feels soft", "the color is just like the picture", "it washes well"),
             ("it runs two sizes small", "the seams came apart", "the color faded in one wash", "the fabric is thin")),
    Category("Shoes", 0.75, 0.50, 0.265, 0.56,
             ("Stridewell", "Corvane", "Pacer", "Terrano", "Solena"),
             ("they are comfortable from day one", "they are true to size", "the sole grips well", "they look sharp"),
             ("they gave me blisters", "they are half a size off", "the sole came loose", "they squeak")),
    Category("Home & Kitchen", 1.25, 0.45, 0.125, 0.57,
             ("Hearthwell", "Casa Verde", "Norrland", "Brightbowl", "Copperline"),
             ("it is easy to clean", "it looks great in our kitchen", "it feels solid", "we use it every day"),
             ("the coating peels", "it arrived chipped", "it is smaller than it looks", "the lid does not fit")),
    Category("Beauty", 0.85, 0.62, 0.075, 0.78,
             ("Lumiere", "Verdane", "Purely", "Rosewick", "Bloom Lab"),
             ("my skin feels great", "the scent is light", "a little goes a long way", "it lasts all day"),
             ("it gave me a rash", "the scent is overpowering", "the pump broke", "it did nothing for me")),
    Category("Sports & Outdoors", 0.90, 0.42, 0.155, 0.46,
             ("Summitra", "Trailhead", "Pacer", "Kinetix", "Blue Heron"),
             ("it held up on a long trail", "it is light to carry", "it stays dry inside", "the grip is excellent"),
             ("the zipper broke on the first trip", "it leaks", "the strap tore", "it is heavier than stated")),
    Category("Toys & Games", 0.80, 0.45, 0.085, 0.58,
             ("Brickwell", "Funforge", "Little Owl", "Puzzlewood", "Tinker & Co"),
             ("my kids love it", "it kept them busy for hours", "the rules are easy", "the pieces are sturdy"),
             ("pieces were missing", "it broke within an hour", "the instructions make no sense", "the paint chips")),
    Category("Books", 0.70, 0.35, 0.040, 0.58,
             ("Alder Press", "Northgate Books", "Lantern House", "Fieldstone", "Quill & Co"),
             ("I could not put it down", "the examples are clear", "the print is beautiful", "it is well researched"),
             ("the binding fell apart", "it drags in the middle", "pages were missing", "the print is tiny")),
    Category("Health & Grocery", 0.85, 0.38, 0.045, 0.55,
             ("Greenleaf", "Vitalis", "Honest Grain", "Daybreak", "Purely"),
             ("it tastes fresh", "the bag reseals well", "it mixes well", "I feel the difference"),
             ("it tastes stale", "the seal was broken", "it was close to its date", "it upset my stomach")),
    Category("Pet Supplies", 0.70, 0.42, 0.070, 0.57,
             ("Pawsome", "Barkley", "Whisker & Tail", "Greenleaf", "Happy Den"),
             ("my dog loves it", "the cat took to it at once", "it is easy to wash", "it survived the puppy"),
             ("my dog tore it apart in a day", "the cat ignores it", "it smells odd", "the stitching came undone")),
)  # fmt: skip

SUBCATEGORIES = (
    Subcategory("Smartphones", 0, 420, 0.20, 0.7, ("Smartphone", "5G Phone", "Phone")),
    Subcategory("Laptops", 0, 780, 1.60, 0.6, ("Laptop", "Notebook", "Ultrabook")),
    Subcategory("Headphones", 0, 79, 0.25, 1.2, ("Headphones", "Earbuds", "Headset")),
    Subcategory("Phone Accessories", 0, 19, 0.10, 1.6, ("Phone Case", "Charger", "Screen Protector", "Cable")),
    Subcategory("Computer Accessories", 0, 36, 0.40, 1.3, ("Mouse", "Keyboard", "USB Hub", "Webcam")),
    Subcategory("Shirts", 1, 29, 0.25, 1.3, ("Shirt", "T-Shirt", "Polo")),
    Subcategory("Jeans & Pants", 1, 52, 0.60, 1.1, ("Jeans", "Chinos", "Pants")),
    Subcategory("Dresses", 1, 64, 0.45, 0.9, ("Dress", "Skirt", "Jumpsuit")),
    Subcategory("Jackets", 1, 98, 1.00, 0.7, ("Jacket", "Coat", "Parka")),
    Subcategory("Socks & Underwear", 1, 15, 0.10, 1.2, ("Socks", "Boxers", "Undershirt")),
    Subcategory("Sneakers", 2, 84, 0.90, 1.3, ("Sneakers", "Trainers")),
    Subcategory("Boots", 2, 118, 1.40, 0.8, ("Boots", "Ankle Boots")),
    Subcategory("Sandals", 2, 42, 0.60, 0.8, ("Sandals", "Slides")),
    Subcategory("Dress Shoes", 2, 108, 1.00, 0.6, ("Loafers", "Oxfords", "Pumps")),
    Subcategory("Shoe Care", 2, 12, 0.20, 0.9, ("Shoe Polish", "Insoles", "Laces")),
    Subcategory("Cookware", 3, 68, 2.20, 1.0, ("Frying Pan", "Saucepan", "Dutch Oven")),
    Subcategory("Kitchen Tools", 3, 17, 0.30, 1.5, ("Spatula Set", "Peeler", "Measuring Cups")),
    Subcategory("Small Appliances", 3, 112, 3.50, 0.9, ("Blender", "Toaster", "Coffee Maker")),
    Subcategory("Bedding", 3, 74, 1.80, 0.9, ("Sheet Set", "Duvet Cover", "Pillow")),
    Subcategory("Storage", 3, 26, 1.10, 1.1, ("Storage Box", "Organizer", "Basket")),
    Subcategory("Skin Care", 4, 31, 0.20, 1.3, ("Moisturizer", "Serum", "Cleanser")),
    Subcategory("Makeup", 4, 22, 0.10, 1.2, ("Lipstick", "Mascara", "Foundation")),
    Subcategory("Hair Care", 4, 18, 0.40, 1.1, ("Shampoo", "Conditioner", "Hair Oil")),
    Subcategory("Fragrance", 4, 72, 0.30, 0.7, ("Eau de Parfum", "Cologne")),
    Subcategory("Beauty Tools", 4, 24, 0.20, 0.9, ("Makeup Brush Set", "Hair Dryer", "Tweezers")),
    Subcategory("Camping", 5, 128, 3.00, 0.7, ("Tent", "Sleeping Bag", "Camp Stove")),
    Subcategory("Fitness", 5, 46, 3.20, 1.1, ("Yoga Mat", "Dumbbell Set", "Resistance Bands")),
    Subcategory("Cycling", 5, 58, 0.80, 0.8, ("Bike Helmet", "Bike Light", "Bike Pump")),
    Subcategory("Sportswear", 5, 38, 0.30, 1.2, ("Running Shorts", "Leggings", "Training Top")),
    Subcategory("Water Bottles", 5, 23, 0.40, 1.0, ("Water Bottle", "Shaker", "Flask")),
    Subcategory("Board Games", 6, 34, 1.00, 1.0, ("Board Game", "Card Game", "Strategy Game")),
    Subcategory("Building Sets", 6, 56, 1.10, 1.1, ("Building Set", "Model Kit")),
    Subcategory("Puzzles", 6, 19, 0.70, 0.9, ("Jigsaw Puzzle", "Wooden Puzzle")),
    Subcategory("Dolls & Plush", 6, 25, 0.40, 0.9, ("Plush Bear", "Doll", "Puppet")),
    Subcategory("Batteries", 6, 14, 0.30, 1.1, ("AA Batteries", "AAA Batteries", "Battery Charger")),
    Subcategory("Fiction", 7, 15, 0.40, 1.4, ("Novel", "Thriller", "Short Stories")),
    Subcategory("Nonfiction", 7, 19, 0.50, 1.0, ("Biography", "History", "Essays")),
    Subcategory("Children's Books", 7, 12, 0.40, 1.1, ("Picture Book", "Storybook", "Activity Book")),
    Subcategory("Cookbooks", 7, 25, 1.00, 0.7, ("Cookbook", "Baking Book")),
    Subcategory("Textbooks", 7, 86, 1.30, 0.5, ("Textbook", "Workbook", "Reference")),
    Subcategory("Vitamins", 8, 21, 0.30, 1.2, ("Vitamin D", "Multivitamin", "Omega-3")),
    Subcategory("Protein", 8, 39, 1.20, 0.9, ("Whey Protein", "Protein Bars", "Plant Protein")),
    Subcategory("Coffee & Tea", 8, 16, 0.60, 1.4, ("Ground Coffee", "Green Tea", "Espresso Beans")),
    Subcategory("Snacks", 8, 9, 0.50, 1.3, ("Trail Mix", "Granola", "Crackers")),
    Subcategory("First Aid", 8, 13, 0.30, 0.7, ("Bandages", "First Aid Kit", "Thermometer")),
    Subcategory("Dog Food", 9, 44, 6.00, 1.2, ("Dry Dog Food", "Wet Dog Food")),
    Subcategory("Cat Food", 9, 33, 3.50, 1.1, ("Dry Cat Food", "Wet Cat Food")),
    Subcategory("Pet Toys", 9, 11, 0.20, 1.2, ("Chew Toy", "Cat Wand", "Ball")),
    Subcategory("Pet Beds", 9, 48, 2.00, 0.7, ("Dog Bed", "Cat Tree", "Blanket")),
    Subcategory("Leashes & Collars", 9, 17, 0.20, 0.8, ("Leash", "Collar", "Harness")),
)

AFFINITIES = (
    ("Smartphones", "Phone Accessories", 3.0),
    ("Smartphones", "Headphones", 1.0),
    ("Laptops", "Computer Accessories", 3.0),
    ("Laptops", "Headphones", 1.0),
    ("Shirts", "Jeans & Pants", 2.5),
    ("Dresses", "Makeup", 1.0),
    ("Jackets", "Boots", 1.5),
    ("Jeans & Pants", "Socks & Underwear", 1.5),
    ("Sneakers", "Sportswear", 2.0),
    ("Boots", "Shoe Care", 2.0),
    ("Dress Shoes", "Shoe Care", 3.0),
    ("Sandals", "Dresses", 1.0),
    ("Cookware", "Kitchen Tools", 3.0),
    ("Cookware", "Cookbooks", 1.0),
    ("Small Appliances", "Coffee & Tea", 2.5),
    ("Bedding", "Storage", 1.5),
    ("Skin Care", "Makeup", 2.0),
    ("Makeup", "Beauty Tools", 2.5),
    ("Hair Care", "Beauty Tools", 1.5),
    ("Fragrance", "Skin Care", 1.0),
    ("Camping", "Water Bottles", 2.0),
    ("Camping", "First Aid", 1.0),
    ("Fitness", "Protein", 2.5),
    ("Fitness", "Sportswear", 1.5),
    ("Cycling", "Water Bottles", 2.0),
    ("Board Games", "Snacks", 1.5),
    ("Building Sets", "Batteries", 3.0),
    ("Puzzles", "Children's Books", 1.0),
    ("Dolls & Plush", "Children's Books", 2.0),
    ("Fiction", "Coffee & Tea", 1.0),
    ("Nonfiction", "Fiction", 1.0),
    ("Textbooks", "Computer Accessories", 1.0),
    ("Vitamins", "Protein", 2.0),
    ("Dog Food", "Pet Toys", 2.5),
    ("Dog Food", "Leashes & Collars", 1.0),
    ("Cat Food", "Pet Toys", 2.0),
    ("Pet Beds", "Pet Toys", 1.0),
)
"""Pairs of subcategories that are bought together, with a weight. Pairs are symmetric."""

ADJECTIVES = (
    "Classic", "Essential", "Premium", "Compact", "Everyday", "Deluxe", "Modern", "Original", "Light", "Pro", "Urban",
    "Heritage", "Smart", "Natural", "Ultra", "Signature", "Coastal", "Summit", "Nova", "Prime",
)  # fmt: skip


def partners() -> dict[int, list[tuple[int, float]]]:
    """Map each subcategory to those that go with it and their weights, as indices into `SUBCATEGORIES`."""
    number = {subcategory.name: index for index, subcategory in enumerate(SUBCATEGORIES)}
    pairs: dict[int, list[tuple[int, float]]] = {index: [] for index in number.values()}
    for one, other, weight in AFFINITIES:
        pairs[number[one]].append((number[other], weight))
        pairs[number[other]].append((number[one], weight))
    return pairs
