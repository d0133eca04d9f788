"""Pieces of molecules as SMILES, with how often they are taken; a ``*`` is the bond to the rest.

Rings are joined at any atom that has a hydrogen.
"""

from __future__ import annotations


def _table(lines: str) -> dict[str, float]:
    """Pieces of a line share the weight at its beginning."""
    found = {}
    for line in lines.strip().splitlines():
        weight, *pieces = line.split()
        found.update({piece: float(weight) for piece in pieces})
    return found


RINGS = _table(
    """
    9   c1ccccc1
    2   c1ccncc1 C1CCCCC1 C1CCCC1
    1.2 c1cncnc1 c1cc[nH]c1 c1ccoc1 c1ccsc1 c1c[nH]cn1 c1cn[nH]c1 C1CC1 C1CCC1 C1CCNCC1 C1CCNC1 C1CCOC1
    0.8 c1cnccn1 c1ccnnc1 c1cocn1 c1cscn1 c1conc1 c1csnc1 C1COCCN1 C1CNCCN1 C1CO1 C1CN1 C1COCCO1 C1CCOCC1
    0.6 c1ncncn1 c1nnc[nH]1 c1c[nH]nn1 c1nnco1 c1ncon1 c1nncs1 C1COC1 C1CNC1 C1COCO1 C1CCSC1 C1CS1 C1CSCCS1
    0.6 c1ccc2ccccc2c1 c1ccc2[nH]ccc2c1 c1ccc2ncccc2c1 c1ccc2occc2c1 c1ccc2scnc2c1 c1ccc2[nH]cnc2c1
    0.6 O=C1CCCN1 O=C1CCCO1 O=C1CCCCC1 O=C1CCC(=O)N1 O=C1CCC(=O)O1 O=C1C=CC(=O)N1 O=c1cc[nH]c(=O)[nH]1
    0.6 O=C1CN1 O=C1CCN1 O=C1CCO1 O=C1CCC1 O=C1C=CC(=O)C=C1 O=c1cccc[nH]1 O=c1ccocc1 C1CCSCC1 O=S1(=O)CCCC1
    0.5 C1=CCCCC1 C1=CCCC1 C1=CC=CC1 C1=CCC=CC1 C1=CCC1 C1=CC1 C1=CCNCC1 C1=COCC1 C1=NCCN1 C1=NCCO1 C1CCCCCC1
    0.4 C1CC2CCC1C2 C1CC2CCC1CC2 C1C2CC1C2 C1CC2CC2C1 C1CCC2CCCCC2C1 C1=CC=CC=CC1 C1CCCNCC1 C1CCCOCC1 C1CNN1
    0.3 c1ccc2cccc-2cc1 c1ncc2[nH]cnc2n1 C12C3C4C1C5C2C3C45 C1C2CC3CC1CC(C2)C3 c1ccpcc1 C1CNOC1
    0.4 C1CC[SiH2]C1 [SiH2]1CCCCC1 C1C[SiH2]C1 C1CC[SiH2]CC1 O1[SiH2]O[SiH2]O[SiH2]1 C1C[SiH2]O1
    0.4 B1OCCO1 B1CCCC1 B1NBNBN1 B1OBOBO1 B1NCCN1 B1OC=CO1 c1ccc2OBOc2c1
    0.4 C1CCPC1 C1CCPCC1 C1CPC1 C1=CPCC1 C1CP1 O=P1OCCO1 O=P1OCCCO1
    0.4 C1CSSC1 C1CSSCC1 C1COS(=O)O1 O=S1CCCC1 O=S1(=O)C=CCC1 O=S1(=O)NCCC1 C1CSCS1 C1SCSCS1 C1CSCN1
    """
)
GROUPS = _table(
    """
    9   *C *O *F
    6   *Cl *N *OC *Br
    4.5 *I
    4   *CC *C(=O)O *C(=O)N *C#N *C=O
    3   *N(C)C *NC *S *SC *C(=O)OC *C(C)=O *C=C *C(F)(F)F *CO *CN
    2   *[N+](=O)[O-] *NC(C)=O *OC(C)=O *C#C *C(C)(C)C *C(C)C *S(C)(=O)=O *S(N)(=O)=O *S(C)=O *S(O)(=O)=O
    2   *[SiH3] *[Si](C)(C)C *P *P(C)C *B(O)O *B(C)C *P(O)(O)=O *P(C)(C)=O
    1   *C=NO *C(=O)Cl *C(=O)F *C(=S)N *C(=O)S *C(=N)N *NC(=N)N *NC(N)=O *NC(N)=S *NN *NO *OO *N=O *N=NC
    1   *N=[N+]=[N-] *N=C=O *N=C=S *SC#N *OC#N *[N+]#[C-] *C=C=C *C=C=O *C=[N+]=[N-] *ON=O *O[N+](=O)[O-]
    1   *N=C *C=N *N=C=NC *SSC *SS *OC=O *NC=O *NS(C)(=O)=O *OC(=O)O *OC(=O)N *NC(=O)O *CC#N *CC=O *CCl *CF
    1   *S(F)(=O)=O *S(Cl)(=O)=O *S(F)(F)(F)(F)F *S(=O)O *S(=O)(=N)C *OS(C)(=O)=O *OS(O)(=O)=O *C(Cl)(Cl)Cl
    1   *[SiH2]C *[SiH](C)C *[Si](F)(F)F *[Si](Cl)(Cl)Cl *[Si](OC)(OC)OC *[SiH2]O *O[SiH3] *O[Si](C)(C)C
    1   *[SiH2][SiH3] *N[SiH3] *C[SiH3] *[SiH2]F *[SiH2]Cl *[Si](C)(C)O
    1   *PC *P(Cl)Cl *P(F)F *P(OC)OC *P(=O)(OC)OC *OP(O)(O)=O *P(Cl)(Cl)=O *P(F)(F)=O *P(C)(C)=S *P(N)N *PP
    0.5 *P(F)(F)(F)F *P(C)=C *C=P *C#P *N=P(C)(C)C *OP(C)C *CP *SP(C)C
    1   *B *BC *B(F)F *B(Cl)Cl *B(N)N *B(OC)OC *BO *OB(O)O *NB(C)C *OBC *B(O)C *NBC *CB(C)C
    0.5 *I(Cl)Cl *CI *CBr *C(Br)=C *C(F)=C(F)F *C(Cl)=C *C(I)=C *SF *S(F)(F)F *SCl
    """
)
ATOMS = {"C": 60.0, "N": 13.0, "O": 12.0, "S": 4.0, "Si": 3.0, "P": 2.0, "B": 2.0}
"""Atoms that chains go on with."""
SMALL = _table(
    """
    8   O
    3   CO N C CC=O C=O CC O=C=O S Cl CC#N C#N C=C CC(C)=O OC=O
    2   C#C F CCO COC CN NC=O CC(=O)O CF CCl CS SC Br CI CBr P [SiH4] [H][H] N#N [C-]#[O+] NN OO
    1   C=C=C CC=C C1CC1 C1CO1 C1CN1 CNC CC#C C=C=O N=C=O O=C=S S=C=S NO NC(N)=O CC(N)=O C[N+](=O)[O-] CSC
    1   O=S=O O=S(=O)=O [N-]=[N+]=O N=[N+]=[N-] [O-][O+]=O N#CC#N O[N+](=O)[O-] ON=O FC(F)F ClC(Cl)Cl ClCCl
    1   FF ClCl BrBr II ClF BrCl ICl I FB(F)F ClB(Cl)Cl B CB(C)C OB(O)O F[Si](F)(F)F Cl[Si](Cl)(Cl)Cl C[SiH3]
    1   FP(F)F ClP(Cl)Cl FP(F)(F)(F)F ClP(Cl)(Cl)(Cl)Cl O=P(O)(O)O O=P(Cl)(Cl)Cl CP PP O=PO FS(F)(F)F
    1   FS(F)(F)(F)(F)F OS(O)(=O)=O O=S(Cl)Cl CS(C)=O SS ClSSCl FN(F)F ClN(Cl)Cl FOF ClOCl OCl OF FC(F)(F)F
    1   ClC(Cl)(Cl)Cl BrC(Br)Br IC(I)I [SiH3][SiH3] [SiH3]O[SiH3] NB CNB P12P3P1P23 S1SSSSSSS1
    """
)
"""Small molecules: partners in pairs and clusters, and now and then samples of their own."""
